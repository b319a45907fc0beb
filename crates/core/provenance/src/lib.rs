//! Signed statements of how an image came to be, and the policy that accepts or refuses them.
