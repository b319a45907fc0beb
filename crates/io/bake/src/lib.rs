//! Bakes images: Debian bases from the signed archive and layers on top of them.
