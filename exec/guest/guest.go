// Package guest is compiled into users' programs (GOOS=wasip1 GOARCH=wasm): what a Go program
// needs as one unit of a job. C programs include p3.h instead.
//
// A unit reads its input from stdin, writes its result to stdout and files to /out, and finds
// shared read-only files in /data. All of it works with plain Go as well, and these helpers work in a
// plain process too; they keep a program short. Not safe for concurrent use.
package guest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Folders of a guest. Variables, so that a program can be tried as a plain process.
var (
	InDir   = "/in"   // the unit's own files
	DataDir = "/data" // files shared by all units
	OutDir  = "/out"  // what is left here becomes part of the result
)

var stdin = bufio.NewReader(os.Stdin)

// Input reads the rest of stdin.
func Input() ([]byte, error) { return io.ReadAll(stdin) }

// Line reads one line of stdin and returns it without its end; io.EOF after the last. A job over lines gives
// each unit one.
func Line() (string, error) {
	s, err := stdin.ReadString('\n')
	if err == io.EOF && s != "" {
		err = nil
	}
	return strings.TrimRight(s, "\r\n"), err
}

// Data opens a shared file by its name in the job.
func Data(name string) (*os.File, error) { return os.Open(path.Join(DataDir, name)) }

// Create makes a file of the result, and the folders of its name. The caller closes it.
func Create(name string) (*os.File, error) {
	file := path.Join(OutDir, name)
	if err := os.MkdirAll(path.Dir(file), 0o755); err != nil {
		return nil, err
	}
	return os.Create(file)
}

// Exit ends the program: with 0 when err is nil, else it shows err on stderr and ends with 1.
func Exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
