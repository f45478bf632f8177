//! Checkpoints whose weights another tool has quantised: named, because their tensors are not what they seem.

use std::collections::BTreeMap;

use serde_json::Value;
use stratune_protocol::Problem;

/// Ends of tensors' names that only one kind of quantised checkpoint has.
const SIGNS: [(&str, &str); 13] = [
    (".absmax", "bitsandbytes"),
    (".quant_map", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    (".qweight", "GPTQ or AWQ"),
    (".qzeros", "GPTQ or AWQ"),
    (".weight_packed", "compressed-tensors"),
    (".weight_scale", "FP8"),
    (".weight_scale_inv", "FP8"),
    ("_blocks", "MXFP4"),
    (".weight._data", "quanto"),
    (".W_q", "HQQ"),
    (".codebooks", "AQLM"),
    (".Qidxs", "QuIP#"),
];

/// Number formats that a weight has only if it is quantised.
const FEW_BITS: [&str; 7] = ["U8", "I8", "I16", "I32", "F8_E4M3", "F8_E5M2", "F4"];

/// Refuses a model that another tool has quantised. `formats` are the number formats of its tensors by their names.
pub(crate) fn refuse(config: &Value, formats: &BTreeMap<&str, &str>, at: &str) -> Result<(), Problem> {
    let Some((tool, sign)) = by_config(config).or_else(|| by_tensors(formats)) else { return Ok(()) };
    Err(Problem::input(format!("the weights are quantised by {tool}: {sign}")).at(at).next(
        "use the model that it was made from, in F32, F16 or BF16; base_dtype int8 or int4 keeps that in as few bits here",
    ))
}

/// What the configuration says of it.
fn by_config(config: &Value) -> Option<(String, String)> {
    let says = |key: &str| format!("config.json has {key}");
    for fields in [config, &config["text_config"]] {
        let of = &fields["quantization_config"];
        if of.is_object() {
            let bits = ["load_in_4bit", "load_in_8bit"].iter().any(|key| of.get(key).is_some());
            let unnamed = if bits { "bitsandbytes" } else { "another tool" };
            return Some((of["quant_method"].as_str().unwrap_or(unnamed).into(), says("quantization_config")));
        }
        if fields["compression_config"].is_object() {
            return Some(("compressed-tensors".into(), says("compression_config")));
        }
        if fields["quantization"].is_object() {
            return Some(("MLX".into(), says("quantization")));
        }
    }
    None
}

/// What the tensors show of it.
fn by_tensors(formats: &BTreeMap<&str, &str>) -> Option<(String, String)> {
    let sign = |name: &&str| SIGNS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, tool)| *tool);
    if let Some((name, tool)) = formats.keys().find_map(|name| Some((name, sign(name)?))) {
        return Some((tool.into(), format!("there is a tensor '{name}'")));
    }
    let few = |(name, format): &(&&str, &&str)| name.ends_with(".weight") && FEW_BITS.contains(*format);
    let (name, format) = formats.iter().find(few)?;
    Some(("another tool".into(), format!("tensor '{name}' holds {format}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tools_are_known_by_the_configuration_or_the_tensors() {
        let plain = [("model.norm.weight", "F32"), ("model.layers.0.self_attn.rotary_emb.inv_freq", "F32")];
        let with =
            |name: &'static str, format: &'static str| plain.into_iter().chain([(name, format)]).collect::<Vec<_>>();
        let cases = [
            (
                json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
                plain.to_vec(),
                "by gptq: config.json",
            ),
            (json!({"quantization_config": {"load_in_8bit": true}}), plain.to_vec(), "by bitsandbytes"),
            (json!({"quantization_config": {"bits": 4}}), plain.to_vec(), "by another tool"),
            (json!({"text_config": {"quantization_config": {"quant_method": "fp8"}}}), plain.to_vec(), "by fp8"),
            (json!({"compression_config": {}}), plain.to_vec(), "by compressed-tensors"),
            (json!({"quantization": {"group_size": 64, "bits": 4}}), plain.to_vec(), "by MLX"),
            (json!({}), with("a.weight.absmax", "F32"), "by bitsandbytes: there is a tensor 'a.weight.absmax'"),
            (json!({}), with("a.qweight", "I32"), "by GPTQ or AWQ"),
            (json!({}), with("a.weight_scale_inv", "F32"), "by FP8"),
            (json!({}), with("a.weight", "U8"), "by another tool: tensor 'a.weight' holds U8"),
        ];
        for (config, tensors, why) in cases {
            let problem = refuse(&config, &tensors.into_iter().collect(), "folder").unwrap_err();
            assert!(problem.what.contains(why) && problem.at == "folder", "{why}: {problem:?}");
        }
        let buffers = with("a.attn.bias", "U8");
        refuse(&json!({"quantization_config": null}), &buffers.into_iter().collect(), "").unwrap();
    }
}
