//! Opening hours as text: "08:00-12:00, 13:00-18:00" or "closed", for "mon-fri" or "sat".

use carrel_domain::catalog::MINUTES_PER_DAY;
use carrel_proto::v1::DayHours;
use carrel_proto::v1::day_hours::Span;

use crate::convert::catalog::shown;

pub const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const CLOSED: &str = "closed";

/// Spans in order, each within the day.
pub fn parse_day(text: &str) -> Result<DayHours, String> {
    if text == CLOSED {
        return Ok(DayHours { spans: Vec::new() });
    }
    let mut spans: Vec<Span> = Vec::new();
    for part in text.split(',') {
        let (open, close) = part
            .split_once('-')
            .ok_or_else(|| format!("{} is not a time like \"08:00-22:00\", nor closed", shown(part.trim())))?;
        let span = Span { open_minute: parse_minute(open.trim())?, close_minute: parse_minute(close.trim())? };
        if span.open_minute >= span.close_minute {
            return Err(format!("{} closes before it opens", shown(part.trim())));
        }
        if spans.last().is_some_and(|last| last.close_minute > span.open_minute) {
            return Err(format!("{} begins before the span in front of it ends", shown(part.trim())));
        }
        spans.push(span);
    }
    Ok(DayHours { spans })
}

fn parse_minute(text: &str) -> Result<i32, String> {
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<i32>().ok()).flatten()
    };
    text.split_once(':')
        .and_then(|(hour, minute)| Some((number(hour, 1..=2)?, number(minute, 2..=2)?)))
        .filter(|(_, minute)| *minute < 60)
        .map(|(hour, minute)| hour * 60 + minute)
        .filter(|minute| *minute <= i32::from(MINUTES_PER_DAY))
        .ok_or_else(|| format!("{} is not a time from 00:00 to 24:00", shown(text)))
}

/// "mon" or "mon-fri", as indexes into a week.
pub fn parse_weekdays(text: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let index = |name: &str| WEEKDAYS.iter().position(|weekday| *weekday == name);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (index(first)?, index(last)?);
    (first <= last).then_some(first..=last)
}

pub fn write_day(day: &DayHours) -> String {
    if day.spans.is_empty() {
        return CLOSED.to_owned();
    }
    let time = |minute: i32| format!("{:02}:{:02}", minute / 60, minute % 60);
    let spans = day.spans.iter().map(|span| format!("{}-{}", time(span.open_minute), time(span.close_minute)));
    format!("\"{}\"", spans.collect::<Vec<_>>().join(", "))
}

/// "{ mon-fri: "08:00-22:00", sat: "10:00-18:00", sun: closed }"
pub fn write_week(week: &[DayHours]) -> String {
    let mut parts = Vec::new();
    let mut first = 0;
    for run in week.chunk_by(|one, next| one == next) {
        let last = first + run.len() - 1;
        if let (Some(one), Some(other)) = (WEEKDAYS.get(first), WEEKDAYS.get(last)) {
            let days = if first == last { (*one).to_owned() } else { format!("{one}-{other}") };
            parts.push(format!("{days}: {}", write_day(&run[0])));
        }
        first = last + 1;
    }
    format!("{{ {} }}", parts.join(", "))
}
