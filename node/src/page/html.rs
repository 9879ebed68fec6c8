//! A page under construction. What comes from people goes in as text, and text cannot become anything else.

use crate::page::STYLE_PATH;

pub struct Html(String);

impl Html {
    pub fn begin(title: &str) -> Self {
        let mut page = Self(String::with_capacity(16 * 1024));
        page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        page.raw("<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n");
        page.raw("<link rel=\"stylesheet\" href=\"").raw(STYLE_PATH).raw("\">\n<title>").text(title);
        page.raw("</title>\n</head>\n<body>\n");
        page
    }

    /// Markup of ours.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Anybody's words.
    pub fn text(&mut self, words: &str) -> &mut Self {
        for c in words.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    pub fn end(mut self) -> String {
        self.raw("</body>\n</html>\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        let mut page = Html::begin("</title><script>");
        page.text("<img src=x onerror='alert(\"&\")'>");
        let page = page.end();
        assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
        assert!(page.contains("&lt;img src=x onerror=&#39;alert(&quot;&amp;&quot;)&#39;&gt;"), "{page}");
    }
}
