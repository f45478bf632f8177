//! One run for every front end: configuration in, commands in, events out.
