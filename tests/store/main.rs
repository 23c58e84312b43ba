//! What every store must do, said once and asked of each engine; and what the embedded store must survive.

mod contract;
mod crash;
mod damage;
mod faults;
mod model;
mod moves;
mod rig;
