//! Where requests begin and end in a stream of bytes: the gate's reading against hyper's and
//! Node's, and what the private server behind the gate reads of what it is sent.

mod differences;
mod node;
mod oracle;
mod ours;
mod private;
mod vectors;
