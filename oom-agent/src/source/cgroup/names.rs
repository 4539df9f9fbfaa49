//! What runtimes leave on disk about a container.
