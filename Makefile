# What a new user types. Everything else is behind `cargo` and `ferriswheel --help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export CARGO_TERM_COLOR ?= auto

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: prepare-demo ## carry a PostgreSQL cluster through an AKS node upgrade; ends with the certificate; DATABASE=redis for Redis, DATABASE=mongodb for MongoDB, DATABASE=mariadb for MariaDB, DATABASE=memcached for Memcached, DATABASE=kafka for Kafka
	./scripts/demo.sh

# Three tests at a time: most of them wait for servers, and more whole clusters than that wear two cores out.
test: prepare ## install what is missing and pass every test
	./scripts/check.sh
	RUST_TEST_THREADS="$${RUST_TEST_THREADS:-3}" cargo test --workspace

# Optimised, because clients' logins are part of what is measured: a debug build takes a hundred times as long for one.
bench-postgres: prepare-bench-postgres ## measure hand-overs by many methods side by side, 30 rounds each; BENCH="--rounds 2" for others
	"$${CARGO_TARGET_DIR:-target}/release/ferriswheel-bench" postgres --publish $(BENCH)

bench-databases: prepare-bench-databases ## the same for every other system; BENCH="--systems redis --rounds 2" for less
	"$${CARGO_TARGET_DIR:-target}/release/ferriswheel-bench" databases --publish $(BENCH)

prepare-bench-postgres:
	./scripts/prepare.sh bench-postgres

prepare-bench-databases:
	./scripts/prepare.sh bench-databases

prepare-demo:
	./scripts/prepare.sh demo

prepare:
	./scripts/prepare.sh test

.PHONY: help demo test bench-postgres bench-databases prepare-bench-postgres prepare-bench-databases prepare-demo prepare
