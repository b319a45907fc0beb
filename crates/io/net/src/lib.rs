//! The host network of a home: bridge, addresses, packet filter and name server.
