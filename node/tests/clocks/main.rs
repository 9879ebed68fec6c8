//! Every change of the clocks from 2024 to 2028, in zones that do it each in their own way: what is booked around it,
//! what counts for which day, and what the calendar on a telephone makes of it.

mod days;
mod feed;
mod library;
