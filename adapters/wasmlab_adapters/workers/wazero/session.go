package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

const (
	block       = 4096
	maxBridges  = 256
	maxReenter  = 50
	memoryPages = 1 << 14 // a gigabyte: to grow by more takes seconds
)

// All that wazero has, its experiments too: threads, tail calls, constant expressions, exceptions, references to
// functions.  A release that does not know a bit ignores it.
const allFeatures = api.CoreFeaturesV2 | api.CoreFeatureSIMD<<1 | api.CoreFeatureSIMD<<2 | api.CoreFeatureSIMD<<3 | api.CoreFeatureSIMD<<4 |
	api.CoreFeatureSIMD<<5

// engine is one runtime for all sessions; instances have no names there, so that they do not see each other.
type engine struct {
	runtime  wazero.Runtime
	features []string
	bridges  map[string]wazero.CompiledModule
}

func newEngine(mode, rows string) *engine {
	defer func() {
		if r := recover(); r != nil && mode == "compiler" {
			fail(fmt.Errorf("mode=compiler: wazero has no compiler here: %v", r))
		} else if r != nil {
			panic(r)
		}
	}()
	ctx := context.Background()
	e := &engine{bridges: map[string]wazero.CompiledModule{}}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, config(mode))
	if _, err := hostModule(e.runtime.NewHostModuleBuilder("lab")).Instantiate(ctx); err != nil {
		fail(err)
	}
	e.features = e.supported(rows)
	return e
}

func config(mode string) wazero.RuntimeConfig {
	c := wazero.NewRuntimeConfig()
	if mode == "" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		mode = "compiler" // wazero itself would interpret on an arm64 processor that lacks what only threads need
	}
	switch mode {
	case "compiler":
		c = wazero.NewRuntimeConfigCompiler() // where there is none, it panics later
	case "interpreter":
		c = wazero.NewRuntimeConfigInterpreter()
	}
	return c.WithCoreFeatures(allFeatures).WithMemoryLimitPages(memoryPages).WithDebugInfoEnabled(false)
}

// supported asks the release itself: a row of features.tsv is a feature, what it builds on, and a module that needs it.
func (e *engine) supported(rows string) []string {
	ctx, features := context.Background(), []string{}
	for _, row := range strings.Split(strings.TrimSpace(rows), "\n") {
		parts := strings.Split(row, "\t")
		missing := slices.ContainsFunc(strings.Split(parts[1], ","), func(name string) bool {
			return name != "" && !slices.Contains(features, name)
		})
		data, _ := base64.StdEncoding.DecodeString(parts[2])
		if compiled, err := e.runtime.CompileModule(ctx, data); err == nil {
			compiled.Close(ctx)
			if !missing {
				features = append(features, parts[0])
			}
		}
	}
	return features
}

// session is a store: instances by name, what is registered, what has to be closed.
type session struct {
	engine     *engine
	ctx        context.Context
	instances  map[string]api.Module
	registered map[string]api.Module
	closing    []api.Closer
	trace      []string
	depth      int
	of         api.Module
}

type sessionKey struct{}

func newSession(e *engine) *session {
	s := &session{engine: e, instances: map[string]api.Module{}, registered: map[string]api.Module{}}
	resolver := func(name string) api.Module {
		if name == "of" && s.of != nil {
			return s.of
		}
		if found := s.registered[name]; found != nil && name != "lab" {
			return found
		}
		return nil // the engine looks among its own, where only "lab" has a name
	}
	s.ctx = experimental.WithImportResolver(context.WithValue(context.Background(), sessionKey{}, s), resolver)
	return s
}

func (s *session) close() {
	for i := len(s.closing) - 1; i >= 0; i-- {
		s.closing[i].Close(s.ctx)
	}
}

// failed is an outcome other than "returned".
type failed struct{ kind, detail string }

func (f failed) Error() string { return f.kind + ": " + f.detail }

func unsupported(format string, args ...any) error {
	return failed{"unsupported", fmt.Sprintf(format, args...)}
}

func (s *session) outcome(step step, full bool) object {
	values, err := s.run(step, full)
	if err == nil && values == nil {
		return object{"kind": "returned"}
	}
	if err == nil {
		return object{"kind": "returned", "values": values}
	}
	f, known := err.(failed)
	if !known {
		f = failed{"unsupported", err.Error()}
	}
	if len(f.detail) > 2000 {
		f.detail = f.detail[:2000]
	}
	return object{"kind": f.kind, "detail": f.detail}
}

func (s *session) run(step step, full bool) ([]string, error) {
	switch step.Do {
	case "instantiate":
		return nil, s.instantiate(step)
	case "end":
		return nil, nil
	}
	instance := s.instances[step.Name]
	if instance == nil {
		return nil, unsupported("no instance %s", step.Name)
	}
	switch step.Do {
	case "register":
		s.registered[step.As] = instance
		return nil, nil
	case "call":
		return nil, s.call(step, instance)
	case "write", "read":
		memory := instance.ExportedMemory(step.Export)
		if memory == nil {
			return nil, unsupported("no memory %s", step.Export)
		}
		if step.Do == "write" {
			return nil, write(step, memory)
		}
		return read(step, memory, full)
	}
	return nil, unsupported("no step %s", step.Do)
}

func (s *session) compile(step step) (wazero.CompiledModule, error) {
	if found := s.engine.bridges[step.Module]; found != nil && step.Of != nil {
		return found, nil
	}
	data, err := base64.StdEncoding.DecodeString(step.Module)
	if err != nil {
		return nil, unsupported("base64: %v", err)
	}
	compiled, err := s.engine.runtime.CompileModule(s.ctx, data)
	if err != nil {
		return nil, failed{"invalid", err.Error()}
	}
	if step.Of == nil {
		s.closing = append(s.closing, compiled)
		return compiled, nil
	}
	if len(s.engine.bridges) >= maxBridges {
		for key, old := range s.engine.bridges {
			old.Close(s.ctx)
			delete(s.engine.bridges, key)
		}
	}
	s.engine.bridges[step.Module] = compiled
	return compiled, nil
}

func (s *session) instantiate(step step) error {
	s.of = nil
	if step.Of != nil {
		if s.of = s.instances[*step.Of]; s.of == nil {
			return unsupported("no instance %s", *step.Of)
		}
	}
	compiled, err := s.compile(step)
	if err != nil {
		return err
	}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	instance, err := s.engine.runtime.InstantiateModule(s.ctx, compiled, config)
	if err != nil {
		return notInstantiated(err)
	}
	s.instances[step.Name] = instance
	s.closing = append(s.closing, instance)
	return nil
}

// notInstantiated tells what kept a module from coming to life, by the words: a segment that does not fit and a start
// function that fails end in a trap, all else is about imports.
func notInstantiated(err error) error {
	words := err.Error()
	switch {
	case strings.HasPrefix(words, "start "):
		return ended(err)
	case strings.Contains(words, "out of bounds memory access"):
		return failed{"trapped", "out of bounds memory access"}
	case strings.Contains(words, "init exceeds min table size"):
		return failed{"trapped", "out of bounds table access"}
	}
	return failed{"unlinkable", words}
}

func (s *session) call(step step, instance api.Module) error {
	function := instance.ExportedFunction(step.Export)
	if function == nil {
		return unsupported("no function %s", step.Export)
	}
	times := 1
	if step.Repeat != nil {
		times = *step.Repeat
	}
	var last error
	for i := 0; i < times; i++ {
		_, err := function.Call(s.ctx)
		last = ended(err)
		if f, is := last.(failed); is && f.kind != "threw" {
			return last
		}
	}
	return last
}

// ended is how a call ended, in the protocol's words.
func ended(err error) error {
	if err == nil {
		return nil
	}
	words, _, _ := strings.Cut(err.Error(), "\n")
	if _, cause, found := strings.Cut(words, "wasm error: "); found {
		words = cause
	}
	switch {
	case strings.Contains(words, "uncaught exception"):
		return failed{"threw", ""}
	case strings.Contains(words, "stack overflow"), strings.Contains(words, hostDepth):
		return failed{"exhausted", "call stack"}
	case strings.Contains(words, hostTrap):
		return failed{"trapped", "host"}
	case strings.Contains(words, hostThrew):
		return unsupported("an exception cannot pass through a host function")
	}
	return failed{"trapped", words}
}

func size(memory api.Memory) uint64 {
	pages, _ := memory.Grow(0)
	return uint64(pages) << 16
}

func write(step step, memory api.Memory) error {
	data, err := hex.DecodeString(step.Hex)
	if err != nil || step.At > 1<<32 || !memory.Write(uint32(step.At), data) {
		return unsupported("bytes %d to %d of a memory of %d", step.At, step.At+uint64(len(data)), size(memory))
	}
	return nil
}

func read(step step, memory api.Memory, full bool) ([]string, error) {
	all := size(memory)
	if step.Bytes != nil {
		if step.At > all || *step.Bytes > all-step.At {
			return nil, unsupported("bytes %d to %d of a memory of %d", step.At, step.At+*step.Bytes, all)
		}
		data, _ := memory.Read(uint32(step.At), uint32(*step.Bytes))
		return []string{"bytes:" + hex.EncodeToString(data)}, nil
	}
	data, _ := memory.Read(0, uint32(all))
	content := "digest:" + digest(data)
	if full {
		content = "bytes:" + hex.EncodeToString(data)
	}
	return []string{fmt.Sprintf("i64:%x", all), content}, nil
}

// digest is that of the blocks which are not all zeros.
func digest(data []byte) string {
	total, zeros := sha256.New(), make([]byte, block)
	for at := 0; at < len(data); at += block {
		part := data[at:min(at+block, len(data))]
		if !bytes.Equal(part, zeros[:len(part)]) {
			total.Write(binary.LittleEndian.AppendUint64(nil, uint64(at/block)))
			total.Write(part)
		}
	}
	return hex.EncodeToString(total.Sum(nil))[:16]
}
