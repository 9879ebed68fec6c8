//! Rows in the binary form of COPY: what costs the server least, for rows that are not there yet.

use carrel_domain::time::Timestamp;

use crate::projection::rows::{Row, Value};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Postgres counts from the year 2000.
const EPOCH_US: i64 = 946_684_800_000_000;
/// Before the text of a jsonb.
const JSONB_VERSION: u8 = 1;
const NULL: i32 = -1;
/// Where a row would begin with the number of its columns.
const END: i16 = -1;

/// Rows of one table, with all its columns in order.
pub fn encode<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    // No flags, and no extension of the header.
    bytes.extend([0; 8]);
    for row in rows {
        let columns = i16::try_from(row.len()).expect("a table has some dozen columns");
        bytes.extend(columns.to_be_bytes());
        for value in row {
            match value {
                Value::Number(Some(number)) => field(&mut bytes, &[&number.to_be_bytes()]),
                Value::Flag(flag) => field(&mut bytes, &[&[u8::from(*flag)]]),
                Value::Text(Some(text)) => field(&mut bytes, &[text.as_bytes()]),
                Value::Time(Some(at)) => field(&mut bytes, &[&since_epoch(*at).to_be_bytes()]),
                Value::Json(json) => field(&mut bytes, &[&[JSONB_VERSION], json.as_bytes()]),
                Value::Number(None) | Value::Text(None) | Value::Time(None) => bytes.extend(NULL.to_be_bytes()),
            }
        }
    }
    bytes.extend(END.to_be_bytes());
    bytes
}

fn field(bytes: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = i32::try_from(length).expect("texts of the domain are some kilobytes");
    bytes.extend(length.to_be_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
}

/// Within the times that every other statement can name.
fn since_epoch(at: Timestamp) -> i64 {
    at.0.clamp(jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond()) - EPOCH_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_its_columns_each_with_its_length() {
        let row = vec![
            Value::Number(Some(7)),
            Value::Number(None),
            Value::Text(Some("é".into())),
            Value::Time(Some(Timestamp(EPOCH_US + 1))),
            Value::Json("[]".into()),
            Value::Flag(true),
        ];
        let bytes = encode([&row].into_iter());
        let rest = bytes.strip_prefix(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0").expect("as its manual has it");
        assert_eq!(
            rest,
            [
                &[0, 6][..],
                &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7],
                &[255, 255, 255, 255],
                &[0, 0, 0, 2, 0xc3, 0xa9],
                &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1],
                &[0, 0, 0, 3, 1, b'[', b']'],
                &[0, 0, 0, 1, 1],
                &[255, 255],
            ]
            .concat()
        );
    }
}
