//! The configuration: the YAML shape, its checks, and the values that the parts take.
