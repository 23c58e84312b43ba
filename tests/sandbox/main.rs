//! The sandbox, asked by a bare HTTP/2 client for every answer that it can give.

mod apns;
mod client;
mod connections;
mod control;
mod credentials;
mod fcm;
mod signing;
mod webpush;
