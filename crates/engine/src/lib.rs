//! Durable execution of a plan: journal, legality, driver, events.
