//! The demo in a headless Chromium.

mod buttons;
mod page;
mod screenshots;
mod support;
