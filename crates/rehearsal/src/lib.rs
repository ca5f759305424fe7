//! Binds model, emulator, engine and actuators together in virtual time.
