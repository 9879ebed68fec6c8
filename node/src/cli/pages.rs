//! Lists that come in pages, as one.

use carrel_proto::v1;

use super::errors::Failure;

/// What is asked for at once; a server may send fewer.
pub(super) const PAGE_SIZE: i32 = 500;
/// Nobody reads more, and a program that needs more asks for less at a time.
pub(super) const MOST_ROWS: usize = 10_000;
/// However small its pages, a server is not asked for ever.
pub(super) const MOST_PAGES: usize = 1_000;

/// One page of a list.
pub(super) trait Page {
    fn row_count(&self) -> usize;
    /// Where the next page starts; empty if there is none.
    fn next_page_token(&self) -> &str;
    /// Takes the page that follows.
    fn append(&mut self, next: Self);
}

/// All pages as one; its token is empty unless the list was too long.
pub(super) async fn all<P: Page>(mut fetch: impl AsyncFnMut(String) -> Result<P, Failure>) -> Result<P, Failure> {
    let mut whole = fetch(String::new()).await?;
    for _ in 1..MOST_PAGES {
        if whole.next_page_token().is_empty() || whole.row_count() >= MOST_ROWS {
            break;
        }
        let next = fetch(whole.next_page_token().to_owned()).await?;
        whole.append(next);
    }
    Ok(whole)
}

macro_rules! page {
    ($($response:ident . $rows:ident)*) => {$(
        impl Page for v1::$response {
            fn row_count(&self) -> usize {
                self.$rows.len()
            }
            fn next_page_token(&self) -> &str {
                &self.next_page_token
            }
            fn append(&mut self, next: Self) {
                self.$rows.extend(next.$rows);
                self.next_page_token = next.next_page_token;
            }
        }
    )*};
}

page! {
    ListUsersResponse.users
    SearchSeatsResponse.seats
    ListReservationsResponse.reservations
    ListWaitlistEntriesResponse.entries
    ListMessagesResponse.messages
    ListAuditEventsResponse.events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: usize, next: &str) -> v1::ListUsersResponse {
        v1::ListUsersResponse { users: vec![v1::User::default(); rows], next_page_token: next.into() }
    }

    #[tokio::test]
    async fn pages_become_one_list() {
        let whole = all(async |token: String| {
            Ok(match token.as_str() {
                "" => page(500, "a"),
                "a" => page(500, "b"),
                _ => page(3, ""),
            })
        });
        let whole = whole.await.expect("no page fails");
        assert_eq!((whole.row_count(), whole.next_page_token()), (1003, ""));
    }

    #[tokio::test]
    async fn a_list_without_end_is_cut() {
        let whole = all(async |_| Ok(page(500, "more"))).await.expect("no page fails");
        assert_eq!((whole.row_count(), whole.next_page_token()), (MOST_ROWS, "more"));
        let mut pages = 0;
        let empty = all(async |_| {
            pages += 1;
            Ok(page(0, "more"))
        });
        assert_eq!(empty.await.expect("no page fails").row_count(), 0);
        assert_eq!(pages, MOST_PAGES);
    }
}
