//! Promises of the crate on real servers, one file for each.
//!
//! `support` has one application for all servers, and a client for each server.

mod alike;
mod bad_input;
mod configured;
mod connections;
mod elsewhere;
mod ended;
mod endings;
mod extractors;
mod foreign_bytes;
mod generated;
mod grpc_clients;
mod grpc_streams;
mod renewal;
mod scenarios;
mod streams;
mod support;
mod websockets;
