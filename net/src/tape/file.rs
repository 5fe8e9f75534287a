//! A tape in a file. The loop only hands over what it has; a thread of its own makes bytes of it and writes them.

use super::{Recorder, Recording, TapeSource};
use crate::{
    limits::{TAPE_FILES, TAPE_QUEUE, TAPE_QUEUE_BYTES},
    rt::{self, lock, mpsc},
};
use prost::Message;
use quorate_core::{
    Input, Output,
    tape::{StartRef, TapeWriter},
    types::Now,
};
use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What is counted for an input or an output besides its blobs, in bytes.
const SMALL_BYTES: usize = 128;

/// Where a server records its tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapeOptions {
    /// The file. If it is there, the first free one of `FILE.1`, `FILE.2` and so on: each start makes a tape of its own.
    pub file: PathBuf,
    /// The recording ends before the file is larger, bytes.
    pub limit: u64,
}

/// A file that was made, and is empty.
#[derive(Debug)]
pub struct FileTape {
    path: PathBuf,
    file: File,
    limit: u64,
}

impl FileTape {
    /// Makes a tape's file. `None`: it cannot be made now (the disk is full, every number is taken); the log says so, and
    /// the server goes on without.
    ///
    /// # Errors
    /// The path is wrong: it cannot be made there at any time.
    pub fn create(options: &TapeOptions) -> io::Result<Option<Self>> {
        for number in 0..TAPE_FILES {
            let path = numbered(&options.file, number);
            // It holds whatever clients store.
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    tracing::info!(file = %path.display(), limit = options.limit, "records its inputs");
                    return Ok(Some(Self { path, file, limit: options.limit }));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if is_wrong_path(&error) => return Err(error),
                Err(error) => {
                    tracing::error!(file = %path.display(), %error, "cannot make a tape: goes on without");
                    return Ok(None);
                }
            }
        }
        let file = options.file.display();
        tracing::error!(%file, TAPE_FILES, "all numbers of the tape are taken: goes on without, move some away");
        Ok(None)
    }
}

fn numbered(file: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return file.to_owned();
    }
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn is_wrong_path(error: &io::Error) -> bool {
    use io::ErrorKind::{
        InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied,
        ReadOnlyFilesystem,
    };
    matches!(
        error.kind(),
        NotFound
            | PermissionDenied
            | NotADirectory
            | IsADirectory
            | InvalidInput
            | InvalidFilename
            | ReadOnlyFilesystem
    )
}

/// The file while it is written.
#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: BufWriter<File>,
    left: u64,
    over: bool,
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        let size = bytes.len() as u64;
        if size > self.left {
            self.end("its limit is reached");
        } else if let Err(error) = self.file.write_all(bytes) {
            self.end(&error.to_string());
        } else {
            self.left -= size;
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.file.flush()
            && !self.over
        {
            self.end(&error.to_string());
        }
    }

    fn end(&mut self, why: &str) {
        self.over = true;
        tracing::warn!(file = %self.path.display(), why, "the recording ends; the server goes on");
    }
}

/// One step on its way to the thread.
struct Taken {
    /// `None`: the start.
    input: Option<(Now, Input, bool)>,
    outputs: Vec<Output>,
    /// False: the node did not finish it.
    whole: bool,
    weight: usize,
}

impl TapeSource for FileTape {
    fn begin(self: Box<Self>, start: &StartRef<'_>) -> io::Result<Recording> {
        let Self { path, file, limit } = *self;
        let sink = Sink { path, file: BufWriter::new(file), left: limit, over: false };
        let sink = Arc::new(Mutex::new(sink));
        let put = {
            let sink = Arc::clone(&sink);
            move |bytes: &[u8]| lock(&sink).put(bytes)
        };
        // Before the node runs there is time for it.
        let writer = TapeWriter::begin(put, start);
        lock(&sink).flush();
        let (queue, taken) = mpsc::channel(TAPE_QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let finished = rt::dedicated("quorate-tape", write(writer, sink, taken, Arc::clone(&waiting)))?;
        let recorder =
            FileRecorder { queue: Some(queue), waiting, input: None, outputs: Vec::new(), under_way: true };
        Ok((Box::new(recorder), Some(finished)))
    }
}

/// Until the recorder is dropped, or something keeps the tape from going on.
async fn write(
    mut writer: TapeWriter<impl FnMut(&[u8]) + Send>,
    sink: Arc<Mutex<Sink>>,
    mut queue: mpsc::Receiver<Taken>,
    waiting: Arc<AtomicUsize>,
) {
    while let Some(taken) = queue.recv().await {
        match &taken.input {
            Some((now, input, true)) => writer.fed(*now, input),
            Some((now, input, false)) => writer.input(*now, input),
            None => {}
        }
        for output in &taken.outputs {
            writer.output(output);
        }
        if taken.whole {
            writer.end();
        }
        waiting.fetch_sub(taken.weight, Ordering::Relaxed);
        let mut sink = lock(&sink);
        if writer.is_over() && !sink.over {
            sink.end("an input is over TAPE_RECORD_BYTES");
        }
        if queue.is_empty() || sink.over {
            sink.flush();
        }
        if sink.over {
            return;
        }
    }
    drop(writer);
    lock(&sink).flush();
}

/// The driver's end of the queue.
struct FileRecorder {
    /// `None`: the recording has ended.
    queue: Option<mpsc::Sender<Taken>>,
    waiting: Arc<AtomicUsize>,
    input: Option<(Now, Input, bool)>,
    outputs: Vec<Output>,
    under_way: bool,
}

impl FileRecorder {
    fn send(&mut self, whole: bool) {
        let Some(queue) = &self.queue else { return };
        let (input, outputs) = (self.input.take(), core::mem::take(&mut self.outputs));
        let weight = input.as_ref().map_or(0, |(_, input, _)| input_weight(input))
            + outputs.iter().map(output_weight).sum::<usize>();
        let room = self.waiting.fetch_add(weight, Ordering::Relaxed) + weight <= TAPE_QUEUE_BYTES;
        let full = if room {
            match queue.try_send(Taken { input, outputs, whole, weight }) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(_)) => true,
                // The thread has said why it ended.
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        } else {
            true
        };
        if full {
            tracing::warn!(
                TAPE_QUEUE,
                TAPE_QUEUE_BYTES,
                "the tape's disk cannot keep up: the recording ends"
            );
        }
        self.queue = None;
    }
}

impl Recorder for FileRecorder {
    fn input(&mut self, now: Now, input: &Input, fed: bool) {
        if self.queue.is_some() {
            self.under_way = true;
            self.input = Some((now, input.clone(), fed));
        }
    }

    fn output(&mut self, output: &Output) {
        if self.queue.is_some() {
            self.outputs.push(output.clone());
        }
    }

    fn end(&mut self) {
        self.under_way = false;
        self.send(true);
    }
}

impl Drop for FileRecorder {
    fn drop(&mut self) {
        // A node that panicked: its last input is what matters most.
        if self.under_way {
            self.send(false);
        }
    }
}

fn input_weight(input: &Input) -> usize {
    SMALL_BYTES
        + match input {
            Input::Peer(envelope) => envelope.encoded_len(),
            Input::Request { request, .. } => request.encoded_len(),
            Input::SnapshotChunkRead { chunk: Some((data, _)), .. } => data.len(),
            Input::CallDone { reply: Some(reply), .. } => reply.encoded_len(),
            _ => 0,
        }
}

fn output_weight(output: &Output) -> usize {
    SMALL_BYTES
        + match output {
            Output::Send { envelope, .. } => envelope.encoded_len(),
            Output::Write(write) => write.entries.iter().map(|entry| entry.data.len() + SMALL_BYTES).sum(),
            Output::StoreSnapshotChunk { data, .. } => data.len(),
            Output::Reply { reply, .. } => reply.encoded_len(),
            Output::Call { call, .. } => call.encoded_len(),
            _ => 0,
        }
}
