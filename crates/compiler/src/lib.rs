//! Lowers a decode graph to a placement, a schedule and a Program.
