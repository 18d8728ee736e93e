package wasm

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// wasiModule is what a program may import, and all it may import.
const wasiModule = "wasi_snapshot_preview1"

// args are the parameters of a host call, as they lie on the engine's stack.
type args []uint64

func (a args) u32(i int) uint32 { return uint32(a[i]) }

// A hostFunc answers one WASI call. m is the guest's memory: every access is checked.
type hostFunc struct {
	name   string
	params string // 'i' = i32, 'I' = i64
	call   func(g *guest, m memory, a args) errno
}

// hostFuncs are all functions of WASI snapshot preview 1, in the order of its document.
// Written here instead of taken from the engine so that every answer is the same on every
// host, system and engine: no descriptor of the host shows through.
var hostFuncs = []hostFunc{
	{"args_get", "ii", func(g *guest, m memory, a args) errno { return m.putList(g, g.args, a.u32(0), a.u32(1)) }},
	{"args_sizes_get", "ii", func(g *guest, m memory, a args) errno { return m.putSizes(g.args, a.u32(0), a.u32(1)) }},
	{"environ_get", "ii", func(g *guest, m memory, a args) errno { return m.putList(g, g.env, a.u32(0), a.u32(1)) }},
	{"environ_sizes_get", "ii", func(g *guest, m memory, a args) errno { return m.putSizes(g.env, a.u32(0), a.u32(1)) }},
	{"clock_res_get", "ii", clockRes},
	{"clock_time_get", "iIi", clockTime},
	{"fd_advise", "iIIi", fdAdvise},
	{"fd_allocate", "iII", fdAllocate},
	{"fd_close", "i", fdClose},
	{"fd_datasync", "i", fdSync},
	{"fd_fdstat_get", "ii", fdFdstatGet},
	{"fd_fdstat_set_flags", "ii", fdFdstatSetFlags},
	{"fd_fdstat_set_rights", "iII", fdFdstatSetRights},
	{"fd_filestat_get", "ii", fdFilestatGet},
	{"fd_filestat_set_size", "iI", fdFilestatSetSize},
	{"fd_filestat_set_times", "iIIi", fdFilestatSetTimes},
	{"fd_pread", "iiiIi", fdPread},
	{"fd_prestat_get", "ii", fdPrestatGet},
	{"fd_prestat_dir_name", "iii", fdPrestatDirName},
	{"fd_pwrite", "iiiIi", fdPwrite},
	{"fd_read", "iiii", fdRead},
	{"fd_readdir", "iiiIi", fdReaddir},
	{"fd_renumber", "ii", fdRenumber},
	{"fd_seek", "iIii", fdSeek},
	{"fd_sync", "i", fdSync},
	{"fd_tell", "ii", fdTell},
	{"fd_write", "iiii", fdWrite},
	{"path_create_directory", "iii", pathCreateDirectory},
	{"path_filestat_get", "iiiii", pathFilestatGet},
	{"path_filestat_set_times", "iiiiIIi", pathFilestatSetTimes},
	{"path_link", "iiiiiii", func(*guest, memory, args) errno { return eNotsup }},
	{"path_open", "iiiiiIIii", pathOpen},
	{"path_readlink", "iiiiii", pathReadlink},
	{"path_remove_directory", "iii", pathRemoveDirectory},
	{"path_rename", "iiiiii", pathRename},
	{"path_symlink", "iiiii", func(*guest, memory, args) errno { return eNotsup }},
	{"path_unlink_file", "iii", pathUnlinkFile},
	{"poll_oneoff", "iiii", pollOneoff},
	{"proc_raise", "i", func(*guest, memory, args) errno { return eNotsup }},
	{"sched_yield", "", func(*guest, memory, args) errno { return success }},
	{"random_get", "ii", randomGet},
	{"sock_accept", "iii", func(*guest, memory, args) errno { return eNotsup }},
	{"sock_recv", "iiiiii", func(*guest, memory, args) errno { return eNotsup }},
	{"sock_send", "iiiii", func(*guest, memory, args) errno { return eNotsup }},
	{"sock_shutdown", "ii", func(*guest, memory, args) errno { return eNotsup }},
}

func valueTypes(s string) []api.ValueType {
	types := make([]api.ValueType, len(s))
	for i := range s {
		types[i] = api.ValueTypeI32
		if s[i] == 'I' {
			types[i] = api.ValueTypeI64
		}
	}
	return types
}

// instantiateHost gives a runtime the two modules that an instrumented program imports.
func instantiateHost(ctx context.Context, rt wazero.Runtime) error {
	b := rt.NewHostModuleBuilder(wasiModule)
	for _, f := range hostFuncs {
		call := f.call
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
			g := guestOf(ctx)
			g.meet(mod)
			g.enter(g.global)
			m := memory{}
			if mem := mod.Memory(); mem != nil {
				m.linear = mem
			}
			stack[0] = uint64(call(g, m, stack))
		}), valueTypes(f.params), valueTypes("i")).WithName(f.name).Export(f.name)
	}
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
		g := guestOf(ctx)
		g.meet(mod)
		g.enter(g.global)
		panic(sys.NewExitError(uint32(stack[0])))
	}), valueTypes("i"), nil).WithName("proc_exit").Export("proc_exit")
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("set up %s: %w", wasiModule, err)
	}
	_, err := rt.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
			stack[0] = uint64(guestOf(ctx).refuel(int64(stack[0])))
		}), valueTypes("I"), valueTypes("I")).WithName(meter.ImportRefuel).Export(meter.ImportRefuel).Instantiate(ctx)
	if err != nil {
		return fmt.Errorf("set up %s: %w", meter.ImportModule, err)
	}
	return nil
}

// meet looks up the guest's fuel, once.
func (g *guest) meet(mod api.Module) {
	if g.global == nil {
		g.global = mod.ExportedGlobal(meter.FuelGlobal).(api.MutableGlobal)
	}
}

// enter charges for a host call.
func (g *guest) enter(fuel counter) {
	g.global = fuel
	g.charge(costHostCall)
}

// linear is a guest's memory as an engine lends it: Read returns n bytes at p, not a copy, or
// false when they are not all inside. An api.Memory is one.
type linear interface {
	Read(p, n uint32) ([]byte, bool)
}

// memory is the guest's memory; a guest without one fails every access.
type memory struct{ linear }

// at returns n bytes of guest memory, or nil. They are valid until the host call returns.
func (m memory) at(p, n uint32) []byte {
	if m.linear == nil {
		return nil
	}
	b, ok := m.Read(p, n)
	if !ok {
		return nil
	}
	if b == nil {
		b = []byte{}
	}
	return b
}

func (m memory) put32(p, v uint32) errno {
	b := m.at(p, 4)
	if b == nil {
		return eFault
	}
	binary.LittleEndian.PutUint32(b, v)
	return success
}

func (m memory) put64(p uint32, v uint64) errno {
	b := m.at(p, 8)
	if b == nil {
		return eFault
	}
	binary.LittleEndian.PutUint64(b, v)
	return success
}

// putSizes stores the number of values and their length with closing zeros.
func (m memory) putSizes(values [][]byte, count, length uint32) errno {
	n := 0
	for _, v := range values {
		n += len(v) + 1
	}
	if e := m.put32(count, uint32(len(values))); e != success {
		return e
	}
	return m.put32(length, uint32(n))
}

// putList stores values with closing zeros at buf, and a pointer to each at ptrs.
func (m memory) putList(g *guest, values [][]byte, ptrs, buf uint32) errno {
	g.charge(uint64(len(values)) * costHostEntry)
	for i, v := range values {
		g.chargeBytes(uint64(len(v)))
		p := uint64(ptrs) + 4*uint64(i)
		if p > 1<<32-4 {
			return eFault
		}
		if e := m.put32(uint32(p), buf); e != success {
			return e
		}
		b := m.at(buf, uint32(len(v)+1))
		if b == nil {
			return eFault
		}
		b[copy(b, v)] = 0
		buf += uint32(len(v) + 1)
	}
	return success
}

// path reads and charges a path.
func (m memory) path(g *guest, p, n uint32) (string, errno) {
	if n > maxPath {
		return "", eNametoolng
	}
	g.chargeBytes(uint64(n))
	b := m.at(p, n)
	if b == nil {
		return "", eFault
	}
	return string(b), success
}

// maxVectors is the most buffers of one read or write (Linux: IOV_MAX).
const maxVectors = 1024

// vectors resolves an array of n buffers.
func (m memory) vectors(g *guest, p, n uint32) ([][]byte, errno) {
	if n > maxVectors {
		return nil, eInval
	}
	g.charge(uint64(n) * costHostEntry)
	table := m.at(p, n*8)
	if table == nil {
		return nil, eFault
	}
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = m.at(binary.LittleEndian.Uint32(table[i*8:]), binary.LittleEndian.Uint32(table[i*8+4:]))
		if bufs[i] == nil {
			return nil, eFault
		}
	}
	return bufs, success
}
