//! A canvas that is as sharp as the screen, follows its size and the theme, and is painted at most once a frame.

use std::cell::Cell;
use std::rc::Rc;

use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::prelude::*;
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ResizeObserver};

use crate::bridge::browser::window;
use crate::state::use_run;

/// The page's colours and letters, read from the style sheet.
pub struct Ink {
    /// Text.
    pub text: String,
    /// Less important text.
    pub muted: String,
    /// Hairlines.
    pub line: String,
    /// What is meant to be seen.
    pub accent: String,
    /// The ground that the canvas lies on.
    pub ground: String,
    /// Font families.
    pub font: String,
}

/// A canvas ready to be painted, measured in CSS pixels.
pub struct Surface {
    /// The element.
    pub canvas: HtmlCanvasElement,
    /// Its drawing context.
    pub context: CanvasRenderingContext2d,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Colours and letters.
    pub ink: Ink,
    /// Whether the ground is dark.
    pub dark: bool,
}

impl Surface {
    fn of(canvas: HtmlCanvasElement, dark: bool) -> Option<Self> {
        let context: CanvasRenderingContext2d = canvas.get_context("2d").ok()??.dyn_into().ok()?;
        let ratio = window().device_pixel_ratio().max(1.0);
        let (width, height) = (f64::from(canvas.client_width()), f64::from(canvas.client_height()));
        let pixels = ((width * ratio).round() as u32, (height * ratio).round() as u32);
        if (canvas.width(), canvas.height()) != pixels {
            canvas.set_width(pixels.0);
            canvas.set_height(pixels.1);
        }
        context.set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0).ok()?;
        context.clear_rect(0.0, 0.0, width, height);
        let style = window().get_computed_style(&canvas).ok()??;
        let read = |name: &str| style.get_property_value(name).unwrap_or_default().trim().to_string();
        let ink = Ink {
            text: read("--text"),
            muted: read("--muted"),
            line: read("--line"),
            accent: read("--accent"),
            ground: read("--panel"),
            font: read("font-family"),
        };
        (width > 0.0 && height > 0.0).then_some(Self { canvas, context, width, height, ink, dark })
    }

    /// A straight line.
    pub fn line(&self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        self.context.begin_path();
        self.context.move_to(from.0, from.1);
        self.context.line_to(to.0, to.1);
        self.context.set_stroke_style_str(colour);
        self.context.set_line_width(width);
        self.context.stroke();
    }

    /// A line through points.
    pub fn path(&self, points: impl Iterator<Item = (f64, f64)>, colour: &str, width: f64) {
        self.context.begin_path();
        for (i, (x, y)) in points.enumerate() {
            if i == 0 { self.context.move_to(x, y) } else { self.context.line_to(x, y) }
        }
        self.context.set_stroke_style_str(colour);
        self.context.set_line_width(width);
        self.context.set_line_join("round");
        self.context.stroke();
    }

    /// A filled circle; a ring where `ring` is a width.
    pub fn circle(&self, (x, y): (f64, f64), radius: f64, colour: &str, ring: Option<f64>) {
        self.context.begin_path();
        // Fails only for a negative radius.
        if self.context.arc(x, y, radius.max(0.0), 0.0, std::f64::consts::TAU).is_err() {
            return;
        }
        match ring {
            Some(width) => {
                self.context.set_stroke_style_str(colour);
                self.context.set_line_width(width);
                self.context.stroke();
            }
            None => {
                self.context.set_fill_style_str(colour);
                self.context.fill();
            }
        }
    }

    /// Small text; `align` is `left`, `center` or `right` of the point, which is at half the letters' height.
    pub fn text(&self, words: &str, (x, y): (f64, f64), colour: &str, align: &str) {
        self.context.set_font(&format!("11px {}", self.ink.font));
        self.context.set_fill_style_str(colour);
        self.context.set_text_align(align);
        self.context.set_text_baseline("middle");
        // Fails on no text that a browser can hold.
        let _ = self.context.fill_text(words, x, y);
    }
}

/// A canvas. `watch` reads every signal that the picture depends on; `paint` paints it.
#[component]
pub fn Canvas(
    id: &'static str,
    #[prop(into)] label: Signal<String>,
    watch: impl Fn() + 'static,
    paint: impl Fn(&Surface) + 'static,
) -> impl IntoView {
    let run = use_run();
    let node = NodeRef::<html::Canvas>::new();
    let paint = Rc::new(paint);
    let waiting = Rc::new(Cell::new(false));
    let schedule = Rc::new(move || {
        if waiting.replace(true) {
            return;
        }
        let (waiting, paint) = (waiting.clone(), paint.clone());
        request_animation_frame(move || {
            waiting.set(false);
            let surface = node.get_untracked().and_then(|canvas| Surface::of(canvas, run.dark.get_untracked()));
            if let Some(surface) = surface {
                untrack(|| paint(&surface));
            }
        });
    });
    Effect::new({
        let schedule = schedule.clone();
        move |_| {
            watch();
            run.dark.track();
            schedule();
        }
    });
    node.on_load(move |canvas| {
        let resized = Closure::<dyn Fn()>::new(move || schedule());
        if let Ok(observer) = ResizeObserver::new(resized.as_ref().unchecked_ref()) {
            observer.observe(&canvas);
        }
        // The charts stay as long as the page.
        resized.forget();
    });
    view! { <canvas node_ref=node id=id role="img" aria-label=move || label.get()></canvas> }
}
