//! Starts one process in namespaces of its own on a read-only root with least privilege.
