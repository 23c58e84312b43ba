//! The sandbox, asked by a bare HTTP/2 client for every answer that it can give.

mod activities;
mod apns;
mod certificates;
mod client;
mod connections;
mod control;
mod credentials;
mod faults;
mod fcm;
mod hostile;
mod signing;
mod webpush;
