//! Images in and out as OCI layouts, registry references, tar files and directories.
