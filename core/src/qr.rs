//! A text as a QR code on a terminal.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use zeroize::Zeroizing;

/// Dark on light whatever the terminal's colours; `None` where the text is too long for a code.
pub(crate) fn for_terminal(text: &str) -> Option<Zeroizing<String>> {
    let code = QrCode::new(text).ok()?;
    let mut drawing = code.render::<Dense1x2>();
    let drawn = drawing
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    Some(Zeroizing::new(drawn))
}
