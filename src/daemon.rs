//! Config in, running daemon out. Knows everybody.
