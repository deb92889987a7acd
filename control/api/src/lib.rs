//! The door to the controller: every request, from whoever, is answered here inside one open transaction.
//!
//! [`answer`] decides, [`publish`] compiles and signs what was touched, [`admin`] reads and acts for operators,
//! [`routing`] joins the kernel's rows to the routing room. The shell brings bytes, time, chance and commits.

pub mod action;
pub mod admin;
pub mod answer;
pub mod books;
pub mod doubt;
pub mod failure;
pub mod fleet;
pub mod journal;
pub mod live;
pub mod pace;
pub mod publication;
pub mod publish;
pub mod replay;
pub mod request;
pub mod router;
pub mod routing;
pub mod touched;
pub mod usual;
pub mod view;
pub mod welcome;
pub mod witness;
