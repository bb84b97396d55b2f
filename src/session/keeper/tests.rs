//! Promises of the keeper, against a scripted issuer and a clock moved by hand.
