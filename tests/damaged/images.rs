//! Images, how a model reads them, and the model itself.

use std::borrow::Cow;
use std::rc::Rc;

use burn::tensor::Device;
use stratune_data::{ImageProcessor, Reads, SourceFile, Wanted, load_images};
use stratune_protocol::{BaseDtype, DataConfig, Objective, WeightStorage};
use stratune_runtime::block_on;
use stratune_session::{Base, label_image};
use stratune_store::MemoryFolder;
use stratune_tests::fixtures::bytes;

use crate::damage::survives;

#[test]
fn images() {
    let processor = ImageProcessor::read_config(bytes("tiny-vit", "preprocessor_config.json")).unwrap();
    let plain = processor.read("gray.png", bytes("images", "gray.png")).unwrap().to_plain();
    let config = DataConfig { validation_split: 0.0, ..DataConfig::default() };
    let of = |name| (name, bytes("images", name));
    for (name, file) in [of("photo.jpg"), of("drawing.png"), of("clear.png"), ("plain", plain.as_slice())] {
        survives(name, file, 400, |damaged| {
            let image =
                |name: &str, bytes: &[u8]| SourceFile { name: name.into(), bytes: bytes.to_vec(), held_out: false };
            let files = [image("a/1.png", damaged), image("b/2.png", bytes("images", "gray.png"))];
            let wanted = Wanted { objective: Objective::Auto, reads: Reads::First, type_ids: false, known: &[] };
            load_images(&files, &config, (&processor, 4), &wanted, 0).map(|_| ())
        });
    }
}

#[test]
fn models_of_images() {
    const FILES: [&str; 3] = ["config.json", "preprocessor_config.json", "model.safetensors"];
    let device = Device::flex();
    let photo = SourceFile { name: "photo.jpg".into(), bytes: bytes("images", "photo.jpg").to_vec(), held_out: false };
    for name in FILES {
        survives(&format!("tiny-vit/{name}"), bytes("tiny-vit", name), 200, |damaged| {
            let file = |other: &str| match other == name {
                true => (other.to_string(), Cow::Owned(damaged.to_vec())),
                false => (other.to_string(), Cow::Borrowed(bytes("tiny-vit", other))),
            };
            let folder = Rc::new(MemoryFolder::new("damaged", FILES.map(file).into()));
            block_on(async {
                let storage: WeightStorage = BaseDtype::F32.into();
                let base = Base::load(folder, "damaged", storage, &device, &mut |_| {}).await?;
                label_image(&base, &base.model, &photo).await.map(|_| ())
            })
        });
    }
}
