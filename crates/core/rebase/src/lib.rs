//! Proves that layers made on one base still hold on another, from recorded facts alone.
