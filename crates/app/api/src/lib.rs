//! The HTTP+JSON API over a Unix socket: its types, its OpenAPI document and its client.
