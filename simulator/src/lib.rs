//! A faithful local Nexudus.
