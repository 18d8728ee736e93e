// Wordcount counts the words of a chunk of text: the map step of the classic example.
//
// stdin: text; stdout: a line "count word" for each word in lower case, the commonest first.
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/personal-power-plant/p3/exec/guest"
)

func main() {
	text, err := guest.Input()
	if err != nil {
		guest.Exit(err)
	}
	out := bufio.NewWriter(os.Stdout)
	for _, c := range count(string(text)) {
		fmt.Fprintln(out, c.n, c.word)
	}
	guest.Exit(out.Flush())
}

type counted struct {
	word string
	n    int
}

func count(text string) []counted {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && r != '\'' })
	seen := make(map[string]int)
	for _, w := range words {
		if w = strings.Trim(w, "'"); w != "" {
			seen[w]++
		}
	}
	list := make([]counted, 0, len(seen))
	for w, n := range seen {
		list = append(list, counted{w, n})
	}
	slices.SortFunc(list, func(a, b counted) int { return cmp.Or(b.n-a.n, cmp.Compare(a.word, b.word)) })
	return list
}
