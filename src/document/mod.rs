//! YAML documents an operator wrote: their values, and the place of every mistake in them.
