//! Latency reports, timelines and tables over plain records.
