//! A structure as text.

use std::collections::{BTreeMap, BTreeSet};

use crate::Structure;

impl Structure {
    /// As a table: a block a line, a module a column.
    pub fn draw(&self) -> String {
        let (mut columns, mut cells) = (Vec::<String>::new(), BTreeMap::<(usize, usize), String>::new());
        for placed in &self.sites {
            let named = placed.site.as_deref().and_then(crate::form::split);
            let (block, column) = match (named, placed.block, placed.role) {
                (Some((block, behind)), ..) => (block, behind.rsplit('.').next().unwrap_or(behind).to_string()),
                (None, Some(block), Some(role)) => (block, role.name().to_string()),
                (None, Some(block), None) => (block, "block".to_string()),
                (None, None, _) => (0, placed.place()),
            };
            let at = columns.iter().position(|name| *name == column).unwrap_or_else(|| {
                columns.push(column);
                columns.len() - 1
            });
            let size = placed.rank.or(placed.width).or(placed.length);
            let text = size.map_or_else(|| placed.method.to_string(), |size| format!("{} {size}", placed.method));
            let cell = cells.entry((block, at)).or_default();
            *cell = if cell.is_empty() { text } else { format!("{cell} + {text}") };
        }
        let blocks: BTreeSet<usize> = cells.keys().map(|(block, _)| *block).collect();
        let of = |block: usize, column: usize| cells.get(&(block, column)).map_or("·", String::as_str);
        let width = |column: usize| {
            let longest = blocks.iter().map(|block| of(*block, column).chars().count()).max().unwrap_or(0);
            longest.max(columns[column].chars().count())
        };
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        let line = |first: &str, cell: &dyn Fn(usize) -> String| {
            let cells = widths.iter().enumerate().map(|(i, width)| format!("  {:width$}", cell(i)));
            format!("{first:>5}{}", cells.collect::<String>()).trim_end().to_string() + "\n"
        };
        let head = line("block", &|i| columns[i].clone());
        blocks.iter().fold(head, |text, block| text + &line(&block.to_string(), &|i| of(*block, i).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MethodKind, Placed};

    fn path(block: usize, name: &str) -> String {
        format!("model.layers.{block}.{name}")
    }

    #[test]
    fn it_is_drawn_a_block_a_line() {
        let lora =
            |block, name: &str, rank| Placed { rank: Some(rank), ..Placed::at(&path(block, name), MethodKind::Lora) };
        let bias = Placed::at(&path(2, "mlp.up_proj"), MethodKind::Bitfit);
        let norm = Placed::in_block(2, MethodKind::LayerNorm);
        let sites = vec![lora(0, "self_attn.q_proj", 4), lora(2, "mlp.up_proj", 12), bias, norm];
        let want = [
            "block  q_proj  up_proj           block",
            "    0  lora 4  ·                 ·",
            "    2  ·       lora 12 + bitfit  layer_norm\n",
        ];
        assert_eq!(Structure::new(&stratune_protocol::ModelReport::default(), sites).draw(), want.join("\n"));
    }
}
