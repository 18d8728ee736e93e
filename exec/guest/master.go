package guest

import (
	"encoding/json"
	"io"
	"os"
)

// A Result is how one unit of a master ended.
type Result struct {
	ID     int    // what Submit was given
	Unit   uint64 // its number in the job, from 0 in the order of Submit
	OK     bool   // it ended by itself with exit code 0
	Error  string // why it is not OK, for people
	Stdout []byte
}

// Submit is for a master (p3 farm --master): it gives the job one more unit, which reads stdin, and has args in place of the job's
// arguments if there are any. id comes back with the unit's result. A master that has many units out reads results before it submits more.
func Submit(id int, stdin string, args ...string) error {
	return send(struct {
		ID    int      `json:"id"`
		Stdin []byte   `json:"stdin_base64"`
		Args  []string `json:"args,omitempty"`
	}{id, []byte(stdin), args})
}

// Next is for a master: it waits until a unit has ended, whichever that is, and returns its result. io.EOF when the job has ended.
func Next() (Result, error) {
	line, err := Line()
	if err != nil {
		return Result{}, err
	}
	var a struct {
		ID     int    `json:"id"`
		Unit   uint64 `json:"unit"`
		OK     bool   `json:"ok"`
		Error  string `json:"error"`
		Stdout string `json:"stdout"`
		Bytes  []byte `json:"stdout_base64"`
	}
	err = json.Unmarshal([]byte(line), &a)
	r := Result{ID: a.ID, Unit: a.Unit, OK: a.OK, Error: a.Error, Stdout: []byte(a.Stdout)}
	if a.Bytes != nil {
		r.Stdout = a.Bytes
	}
	return r, err
}

// Output is for a master: it writes text of what it found to the stdout of p3 farm.
func Output(text string) error {
	return send(struct {
		Output string `json:"output"`
	}{text})
}

// send writes one line at once: who waits for the result of a unit must have sent it.
func send(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = io.WriteString(os.Stdout, string(b)+"\n")
	}
	return err
}
