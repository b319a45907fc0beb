//! The content-addressed image store: objects, layers, images and their EROFS metadata.
