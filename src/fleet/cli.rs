//! `parvis fleet`: how the scanners and beacons of a running daemon fare, as a table.
