// SPDX-License-Identifier: Apache-2.0

//! The CDI crate of Kata's runtime-rs as a program, used in the way runtime-rs uses it.
//!
//! Commands are lines on standard input, their words separated by tabs; each gets one line:
//!
//!   scan DIR...     a cache of these directories, refreshed        ok | error TEXT
//!   resolve NAME    the device nodes that the sandbox would get    ok PATH... | error TEXT
//!
//! A panic of the crate ends the program, as it would end the shim.

use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex};

use container_device_interface::cache::{new_cache, with_auto_refresh, Cache};
use container_device_interface::spec_dirs::with_spec_dirs;
use container_device_interface::specs::config::DeviceNode;

type Answer = Result<Vec<String>, String>;

/// What a new shim does first. A failed refresh fails the sandbox.
fn scan(dirs: &[&str]) -> Result<Arc<Mutex<Cache>>, String> {
    let cache = new_cache(vec![with_auto_refresh(false), with_spec_dirs(dirs)]);
    let refreshed = cache.lock().unwrap().refresh().map_err(|e| e.to_string());
    refreshed.map(|()| cache)
}

/// Only the device's own edits count, and of them only the nodes.
fn resolve(cache: &Arc<Mutex<Cache>>, name: &str) -> Answer {
    let mut cache = cache.lock().unwrap();
    let device = cache
        .get_device(name)
        .ok_or_else(|| format!("unresolvable CDI device {name}"))?;
    let nodes = device.edits().container_edits.device_nodes;
    Ok(nodes.iter().flatten().filter_map(on_the_host).collect())
}

/// The crate keeps the paths to itself, but writes them.
fn on_the_host(node: &DeviceNode) -> Option<String> {
    let written = serde_json::to_value(node).ok()?;
    let text = |key: &str| written.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    text("hostPath").or_else(|| text("path"))
}

fn main() -> io::Result<()> {
    let mut cache = Err("nothing was scanned yet".to_owned());
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split('\t').collect();
        let answer = match words[..] {
            ["scan", ref dirs @ ..] => {
                cache = scan(dirs);
                cache.as_ref().map(|_| vec![]).map_err(Clone::clone)
            }
            ["resolve", name] => cache.clone().and_then(|c| resolve(&c, name)),
            _ => Err(format!("no such command: {line}")),
        };
        let said = match answer {
            Ok(paths) => ["ok".to_owned()]
                .into_iter()
                .chain(paths)
                .collect::<Vec<_>>()
                .join("\t"),
            Err(text) => format!("error\t{}", text.replace(['\n', '\t'], " ")),
        };
        writeln!(out, "{said}")?;
        out.flush()?;
    }
    Ok(())
}
