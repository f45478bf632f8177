//! Opening what the arguments name: devices, models, adapters, data.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use stratune_data::SourceFile;
use stratune_models::ModelConfig;
use stratune_peft::Adapter;
use stratune_protocol::{BaseDtype, DataConfig, DeviceChoice, ModelReport, Objective, Problem, ProblemKind};
use stratune_runtime::Opened;
use stratune_session::{
    Base, EXAMPLE, EXAMPLE_HELD_OUT, STARTER, attach, mix, open_device, open_model, read_adapter, read_gguf_adapter,
    report_of,
};
use stratune_store::{DiskFolder, Folder, GgufFolder};
use stratune_tasks::{Labelled, Split, task};
use stratune_train::{Event, RunConfig};

/// Opens a device and says which it is and why.
pub async fn device(choice: DeviceChoice, json: bool) -> Result<Opened, Problem> {
    let opened = open_device(choice).await?;
    if json {
        crate::report::event(&Event::Ready(opened.info.clone()));
    } else {
        let info = &opened.info;
        let software = if info.software { ", a software adapter" } else { "" };
        eprintln!("device   {} · {}{software} ({})", info.device, info.name, info.why);
    }
    Ok(opened)
}

/// Loads `starter`, a folder, or what [`hub::fetched`](crate::hub::fetched) has named, its matrices kept as `dtype`.
pub async fn base(model: &str, dtype: BaseDtype, opened: &Opened, json: bool) -> Result<Base, Problem> {
    let base =
        Base::load(folder(model)?, model, opened.info.weight_storage(dtype), &opened.device, &mut |_| {}).await?;
    let report = base.report();
    if json {
        crate::report::event(&Event::Model(report));
    } else {
        let millions = report.parameters as f64 / 1e6;
        let formats: Vec<_> = base.model.formats().iter().map(ToString::to_string).collect();
        let kept = if formats.is_empty() { String::new() } else { format!(", kept as {}", formats.join(", ")) };
        eprintln!(
            "model    {model} · {millions:.2} M parameters, {} layers of {}{kept}",
            report.layers, report.hidden_size
        );
    }
    Ok(base)
}

/// What a model is, from its config.json alone.
pub async fn model_report(model: &str) -> Result<ModelReport, Problem> {
    report_of(&open_model(folder(model)?).await?, model)
}

/// A model's folder: the starter's, one on disk or in the cache of the hub; or a GGUF file as if it were one.
pub fn folder(model: &str) -> Result<Rc<dyn Folder>, Problem> {
    if model == STARTER {
        return starter();
    }
    let path = crate::hub::path(model)?;
    match gguf(&path) {
        Some((dir, name)) => Ok(Rc::new(GgufFolder::new(Rc::new(DiskFolder::new(dir)?), name)?)),
        None => Ok(Rc::new(DiskFolder::new(path)?)),
    }
}

/// The folder and the name of a GGUF file; none of anything else.
pub fn gguf(path: &Path) -> Option<(&Path, &str)> {
    let name = path.file_name()?.to_str().filter(|name| name.ends_with(".gguf") && !path.is_dir())?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    Some((dir.unwrap_or(Path::new(".")), name))
}

#[cfg(feature = "starter")]
fn starter() -> Result<Rc<dyn Folder>, Problem> {
    Ok(Rc::new(stratune_session::starter_folder()))
}

#[cfg(not(feature = "starter"))]
fn starter() -> Result<Rc<dyn Folder>, Problem> {
    Err(Problem::input("this build has no starter model")
        .next("build with the cargo feature 'starter', or name a folder"))
}

/// Reads the folder of an adapter, or its GGUF file, for a model.
pub async fn adapter(path: &Path, model: &ModelConfig) -> Result<Adapter, Problem> {
    match gguf(path) {
        Some((dir, name)) => read_gguf_adapter(Rc::new(DiskFolder::new(dir)?), name, model).await,
        None => read_adapter(&DiskFolder::new(path)?).await,
    }
}

/// Puts the adapters of some folders into a model: one as it is, several weighted, each by one unless told otherwise. Gives what
/// they are called.
pub async fn adapters(base: &mut Base, dirs: &[PathBuf], weights: &[f32]) -> Result<Option<String>, Problem> {
    if !weights.is_empty() && weights.len() != dirs.len() {
        let what = format!("there are {} adapters and {} weights", dirs.len(), weights.len());
        return Err(Problem::input(what).at("--weights").next("give a weight for each adapter, or none"));
    }
    if let Some(weight) = weights.iter().find(|w| !w.is_finite()) {
        return Err(Problem::input(format!("a weight is {weight}")).at("--weights").next("use a number"));
    }
    match (dirs, weights) {
        ([], _) => Ok(None),
        ([dir], []) => {
            let adapter = adapter(dir, &base.model.config).await?;
            attach(&mut base.model, &adapter).await?;
            Ok(Some(adapter.methods.title()))
        }
        _ => {
            let mut read = Vec::new();
            for (k, dir) in dirs.iter().enumerate() {
                let weight = weights.get(k).copied().unwrap_or(1.0);
                read.push((adapter(dir, &base.model.config).await?, weight));
            }
            base.model = mix(&base.model, &read).await?;
            let titles: Vec<String> = read.iter().map(|(adapter, _)| adapter.methods.title()).collect();
            Ok(Some(titles.join(", ")))
        }
    }
}

/// Reads a run's data files whole, those that are held out among them; of a task the rows to train on.
pub fn data(config: &DataConfig) -> Result<Vec<SourceFile>, Problem> {
    if let Some(labelled) = task_rows(config)? {
        let (name, bytes) = (format!("{}.jsonl", config.task), labelled.json_lines().into_bytes());
        return Ok(vec![SourceFile { name, bytes, held_out: false }]);
    }
    let mut all = files(&config.files)?;
    all.extend(files(&config.validation_files)?.into_iter().map(|file| SourceFile { held_out: true, ..file }));
    Ok(all)
}

/// The rows to train on of the task that a configuration names; none if it names none.
fn task_rows(config: &DataConfig) -> Result<Option<Labelled>, Problem> {
    if config.task.is_empty() {
        return Ok(None);
    }
    let task = task(&config.task).map_err(|problem| problem.at("data.task"))?;
    let [folder] = config.files.as_slice() else {
        return Err(Problem::input("a task's files are in one folder")
            .at("data.files")
            .next(format!("name that folder; {}", task.source)));
    };
    task.labelled(&stratune_tasks::Folder(folder.into()), Split::Train).map(Some)
}

/// Has a run on a task learn its classes, in its order, or its numbers.
pub fn name_classes(config: &mut RunConfig) -> Result<(), Problem> {
    let Some(labelled) = task_rows(&config.data)? else { return Ok(()) };
    match labelled.classes {
        None => config.train.objective = Objective::Regression,
        Some(classes) if config.data.label_names.is_empty() => config.data.label_names = classes,
        Some(_) => {}
    }
    Ok(())
}

/// Reads data files whole. `example` and `example-held-out` are built in, unless there are files of these names; a dataset of the
/// hub may be several files.
pub fn files(names: &[String]) -> Result<Vec<SourceFile>, Problem> {
    let mut files = Vec::new();
    for name in names {
        let path = Path::new(name);
        let built_in = [EXAMPLE, EXAMPLE_HELD_OUT].into_iter().find(|(built_in, _)| built_in == name);
        if let Some((name, bytes)) = built_in.filter(|_| !path.exists()) {
            files.push(SourceFile { name: format!("{name}.jsonl"), bytes: bytes.to_vec(), held_out: false });
        } else if let Some(kept) = crate::hub::data_files(name)? {
            for (name, path) in kept {
                files.push(SourceFile { name, bytes: read(&path)?, held_out: false });
            }
        } else if path.is_dir() {
            files.extend(images_within(path)?);
        } else {
            files.push(SourceFile { name: name.clone(), bytes: read(path)?, held_out: false });
        }
    }
    Ok(files)
}

/// The images in a folder, and in folders within it, by path; hidden ones are none. What the folder itself is in is no part of
/// their names: it says nothing of their classes.
fn images_within(folder: &Path) -> Result<Vec<SourceFile>, Problem> {
    let mut paths = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&folder, &error))?;
            let path = entry.path();
            match path.is_dir() {
                _ if entry.file_name().to_string_lossy().starts_with('.') => {}
                true => folders.push(path),
                false => paths.extend(Some(path).filter(|path| is_image_file(path))),
            }
        }
    }
    if paths.is_empty() {
        return Err(Problem::input("the folder has no images (.png, .jpg or .jpeg)")
            .at(folder.display().to_string())
            .next("name the files with rows, or a folder with one of images for each class"));
    }
    paths.sort();
    let above = folder.file_name().and_then(|_| folder.parent()).unwrap_or(folder);
    let file = |path: PathBuf| {
        let name = path.strip_prefix(above).unwrap_or(&path).display().to_string();
        Ok(SourceFile { name, bytes: read(&path)?, held_out: false })
    };
    paths.into_iter().map(file).collect()
}

fn is_image_file(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    ["png", "jpg", "jpeg"].contains(&ending.as_str())
}

/// Reads a file whole.
pub fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let next = match error.kind() {
        std::io::ErrorKind::NotFound => "check the path",
        _ => "check that it can be read",
    };
    Problem::input(format!("cannot read the file: {error}")).at(path.display().to_string()).next(next)
}

/// A problem with writing to `path`.
pub fn cannot_write(path: &Path, e: &std::io::Error) -> Problem {
    Problem::new(ProblemKind::Storage, format!("cannot write: {e}"))
        .at(path.display().to_string())
        .next("check permissions and free space")
}
