package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

const (
	hostTrap  = "lab.trap"
	hostDepth = "lab.reenter: too deep"
	hostThrew = "lab.reenter: an exception"
)

var (
	i32       = api.ValueTypeI32
	i64       = api.ValueTypeI64
	externref = api.ValueTypeExternref
)

// hostModule is the module "lab": its functions act on the session of the call's context.
func hostModule(builder wazero.HostModuleBuilder) wazero.HostModuleBuilder {
	export := func(name string, code api.GoFunc, params, results []api.ValueType) {
		builder = builder.NewFunctionBuilder().WithGoFunction(code, params, results).Export(name)
	}
	export("log", func(ctx context.Context, stack []uint64) {
		s := at(ctx)
		s.trace = append(s.trace, fmt.Sprintf("%x,%x", uint32(stack[0]), stack[1]))
	}, []api.ValueType{i32, i64}, nil)
	export("trap", func(context.Context, []uint64) { panic(errors.New(hostTrap)) }, nil, nil)
	export("reenter", func(ctx context.Context, stack []uint64) { at(ctx).reenter(ctx, stack[0]) }, []api.ValueType{i32}, nil)
	// A reference is its number and one: zero is null.
	export("extern", func(_ context.Context, stack []uint64) { stack[0] = uint64(uint32(stack[0])) + 1 },
		[]api.ValueType{i32}, []api.ValueType{externref})
	export("number", func(_ context.Context, stack []uint64) { stack[0] = uint64(uint32(stack[0] - 1)) },
		[]api.ValueType{externref}, []api.ValueType{i32})
	return builder
}

func at(ctx context.Context) *session {
	return ctx.Value(sessionKey{}).(*session)
}

func (s *session) reenter(ctx context.Context, number uint64) {
	callee := s.registered["lab.callee"]
	if callee == nil {
		return
	}
	function := callee.ExportedFunction("reenter")
	if function == nil {
		return
	}
	if s.depth >= maxReenter {
		panic(errors.New(hostDepth))
	}
	s.depth++
	defer func() { s.depth-- }()
	if _, err := function.Call(ctx, number); err != nil {
		if f, is := ended(err).(failed); is && f.kind == "threw" {
			err = errors.New(hostThrew)
		}
		panic(err)
	}
}
