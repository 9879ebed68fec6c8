//! The rules of booking, field by field: the one list by which they are read off the wire and out of files, and
//! written again.

use carrel_domain::catalog::Policy;
use carrel_proto::v1;

/// A field as it is called everywhere, and how a file sets it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    /// What stands beside it in a file; empty where the name says it.
    pub meaning: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Required {
        get: fn(&v1::Policy) -> i32,
        set: fn(&mut v1::Policy, i32),
    },
    /// Left out, it is as most libraries would want it.
    Number {
        get: fn(&v1::Policy) -> Option<i32>,
        set: fn(&mut v1::Policy, i32),
    },
    Truth {
        get: fn(&v1::Policy) -> Option<bool>,
        set: fn(&mut v1::Policy, bool),
    },
}

macro_rules! fields {
    (
        required { $($required:ident $required_meaning:literal,)* }
        numbers { $($number:ident $number_meaning:literal,)* }
        truths { $($truth:ident $truth_meaning:literal,)* }
    ) => {
        /// In the order of a file, behind the id.
        pub const FIELDS: &[Field] = &[
            $(Field {
                name: stringify!($required),
                meaning: $required_meaning,
                kind: Kind::Required {
                    get: |policy| policy.$required,
                    set: |policy, value| policy.$required = value,
                },
            },)*
            $(Field {
                name: stringify!($number),
                meaning: $number_meaning,
                kind: Kind::Number {
                    get: |policy| policy.$number,
                    set: |policy, value| policy.$number = Some(value),
                },
            },)*
            $(Field {
                name: stringify!($truth),
                meaning: $truth_meaning,
                kind: Kind::Truth {
                    get: |policy| policy.$truth,
                    set: |policy, value| policy.$truth = Some(value),
                },
            },)*
        ];

        /// `number` says what to make of a value, by the name of its field.
        pub fn to_rules(policy: &v1::Policy, mut number: impl FnMut(&'static str, i32) -> u32) -> Policy {
            let usual = Policy::default();
            let rules = Policy {
                $($required: number(stringify!($required), policy.$required),)*
                $($number: match policy.$number {
                    Some(value) => number(stringify!($number), value),
                    None => usual.$number,
                },)*
                $($truth: policy.$truth.unwrap_or(usual.$truth),)*
            };
            match policy.meal_away_minutes {
                Some(_) => rules,
                // Nobody who says how long one may be away means less of it for a meal.
                None => Policy { meal_away_minutes: rules.meal_away_minutes.max(rules.away_minutes), ..rules },
            }
        }

        /// Everything is said, also what is as usual.
        #[must_use]
        pub fn from_rules(id: &str, rules: &Policy) -> v1::Policy {
            let Policy { $($required,)* $($number,)* $($truth,)* } = rules;
            // Rules without faults are far below the bound.
            let count = |value: &u32| i32::try_from(*value).unwrap_or(i32::MAX);
            v1::Policy {
                id: id.to_owned(),
                $($required: count($required),)*
                $($number: Some(count($number)),)*
                $($truth: Some(*$truth),)*
            }
        }
    };
}

fields! {
    required {
        grid_minutes "reservations start and end on this grid, counted from midnight",
        min_minutes "shortest reservation",
        max_minutes "longest reservation",
        window_days "how far ahead one may book",
        grace_minutes "not checked in this long after the start: a no-show",
        lead_minutes "check-in opens this long before the start",
        offer_minutes "how long a waiter has to accept an offer",
        max_reservations "live reservations of one person",
        max_minutes_per_day "of one person",
        strikes_to_suspend "no-shows within strike_days; 0: never",
        strike_days "",
        suspension_days "",
    }
    numbers {
        staff_window_days "how far ahead staff may book, if that is farther",
        notice_minutes "booked so long before the start at the latest; 0: the slot now running",
        buffer_minutes "kept free between two reservations of a seat",
        accessible_minutes "accessible seats are kept until so long before the start; 0: never",
        hold_minutes "how long a seat is held for who is still deciding",
        away_minutes "how long one may leave the seat",
        meal_away_minutes "the same while people eat",
        report_minutes "who was reported away has so long to check in again",
        max_future "of max_reservations, those not checked in to; 0: all",
        max_minutes_per_week "of one person; 0: no limit",
        max_per_day "reservations of one person; 0: no limit",
        max_per_week "reservations of one person; 0: no limit",
        late_cancel_minutes "cancelled so shortly before the start: a strike; 0: never",
    }
    truths {
        proof_required "to check in, one types the code that the seat shows",
        release_strikes "away for too long is a strike",
    }
}

/// What most libraries would want, without a name.
#[must_use]
pub fn usual() -> v1::Policy {
    from_rules("", &Policy::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_goes_there_and_back() {
        let mut policy = usual();
        for (value, field) in (41..).zip(FIELDS) {
            match field.kind {
                Kind::Required { set, .. } | Kind::Number { set, .. } => set(&mut policy, value),
                Kind::Truth { get, set } => {
                    let before = get(&policy).expect("all is said");
                    set(&mut policy, !before);
                }
            }
        }
        let rules = to_rules(&policy, |_, value| value.cast_unsigned());
        assert_eq!(from_rules("", &rules), policy);
        let usual = from_rules("", &Policy::default());
        for field in FIELDS {
            let differs = match field.kind {
                Kind::Required { get, .. } => get(&policy) != get(&usual),
                Kind::Number { get, .. } => get(&policy) != get(&usual),
                Kind::Truth { get, .. } => get(&policy) != get(&usual),
            };
            assert!(differs, "{} is another's", field.name);
        }
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let policy = v1::Policy { away_minutes: Some(90), ..v1::Policy::default() };
        let rules = to_rules(&policy, |_, value| value.cast_unsigned());
        assert_eq!((rules.away_minutes, rules.meal_away_minutes), (90, 90));
        assert_eq!(rules.hold_minutes, Policy::default().hold_minutes);
        assert!(rules.release_strikes && !rules.proof_required);
    }
}
