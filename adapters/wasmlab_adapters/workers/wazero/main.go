// A worker for wazero, as docs/protocol.md has it.  Values pass by the bridge: here are modules, functions () -> ()
// and bytes of memories.
//
//	worker features.tsv [mode=compiler|interpreter]
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

var version = "unknown" // set by the build

type object = map[string]any

// worker reads requests, and answers them on a descriptor of its own: what else is printed goes to standard error.
type worker struct {
	engine   *engine
	out      *os.File
	sessions map[string]*session
	held     bytes.Buffer
}

func main() {
	descriptor, err := syscall.Dup(1)
	if err != nil {
		fail(err)
	}
	if err := syscall.Dup3(2, 1, 0); err != nil {
		fail(err)
	}
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: worker features.tsv [mode=compiler|interpreter]"))
	}
	// Little lives from module to module: garbage is collected late, but for memories of a gigabyte.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(1 << 30)
	rows, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	w := &worker{
		engine: newEngine(mode(os.Args[2:]), string(rows)), out: os.NewFile(uintptr(descriptor), "answers"),
		sessions: map[string]*session{},
	}
	w.say(object{
		"protocol": 1, "engine": "wazero", "version": version, "values": "bridge", "linking": "names",
		"features": w.engine.features,
	})
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			w.answer(line)
		}
		if ahead, _ := lines.Peek(lines.Buffered()); err != nil || bytes.IndexByte(ahead, '\n') < 0 {
			w.flush()
		}
		if err != nil {
			return
		}
	}
}

// mode is "compiler", "interpreter", or "" for what wazero takes by itself.
func mode(flags []string) (found string) {
	for _, flag := range flags {
		if flag != "mode=compiler" && flag != "mode=interpreter" {
			fail(fmt.Errorf("%s: this worker has no such setting or value", flag))
		}
		found = strings.TrimPrefix(flag, "mode=")
	}
	return found
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (w *worker) say(message object) {
	w.hold(message)
	w.flush()
}

// hold says something, but not before the next mark, or before there is nothing more to read.
func (w *worker) hold(message object) {
	data, err := json.Marshal(message)
	if err != nil {
		fail(err)
	}
	w.held.Write(append(data, '\n'))
}

func (w *worker) flush() {
	if _, err := w.held.WriteTo(w.out); err != nil {
		fail(err)
	}
}

// step is what a request asks; keys that it does not have are zero.
type step struct {
	Do, Name, Module, Export, Hex, As string
	Of                                *string
	Repeat                            *int
	At                                uint64
	Bytes                             *uint64
}

type request struct {
	ID      *int64
	Session *string
	Steps   []step
	Observe string
}

// panicked ends the worker where the engine itself gave up, and says where, in a line instead of a long trace.
func panicked() {
	if what := recover(); what != nil {
		fmt.Fprintf(os.Stderr, "panicked at %s: %v\n", place(), what)
		os.Exit(2)
	}
}

// place is that of the panic which is on its way: the frame below those of the runtime.
func place() string {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(0, callers)])
	for below := false; ; {
		frame, more := frames.Next()
		if below && !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", path.Base(frame.File), frame.Line)
		}
		below = below || frame.Function == "runtime.gopanic"
		if !more {
			return "?"
		}
	}
}

func (w *worker) answer(line []byte) {
	defer panicked()
	var asked request
	err := json.Unmarshal(line, &asked)
	if err == nil && (asked.ID == nil || asked.Steps == nil) {
		err = fmt.Errorf("id and steps are needed")
	}
	if err != nil {
		w.hold(object{"id": asked.ID, "error": "no request: " + err.Error()})
		return
	}
	w.say(object{"started": *asked.ID})
	s := w.session(asked)
	outcomes := make([]object, len(asked.Steps))
	for i, step := range asked.Steps {
		outcomes[i] = s.outcome(step, asked.Observe == "full")
	}
	w.keep(asked, s)
	answer := object{"id": *asked.ID, "outcomes": outcomes}
	if len(s.trace) > 0 {
		answer["trace"] = s.trace
	}
	w.hold(answer)
}

func (w *worker) session(asked request) *session {
	if asked.Session != nil {
		if s := w.sessions[*asked.Session]; s != nil {
			s.trace = nil
			return s
		}
	}
	return newSession(w.engine)
}

func (w *worker) keep(asked request, s *session) {
	ended := asked.Session == nil
	for _, step := range asked.Steps {
		ended = ended || step.Do == "end"
	}
	if ended {
		s.close()
	}
	if asked.Session != nil && ended {
		delete(w.sessions, *asked.Session)
	} else if asked.Session != nil {
		w.sessions[*asked.Session] = s
	}
}
