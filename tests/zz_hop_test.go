package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"postmend/tests/mta"
)

func TestZZHop(t *testing.T) {
	f := startChanged(t, func(f *forwarder, main, master *string) {
		*main = strings.Replace(*main, "smtp_line_length_limit = 0\n", "", 1)
	})
	records := f.records()
	for name, text := range records {
		f.check(f.dns.Add(name + " TXT " + text))
	}
	dir := os.Getenv("OUTDIR")
	in, _ := os.Open(os.Getenv("CASES"))
	dec := json.NewDecoder(in)
	type C struct {
		ID     int      `json:"id"`
		Msg    []byte   `json:"msg"`
		Labels []string `json:"labels"`
	}
	var all []C
	for dec.More() {
		var c C
		dec.Decode(&c)
		all = append(all, c)
	}
	sent, refused := 0, 0
	want := map[string]C{}
	for i, c := range all {
		own := i%2 == 1
		msg := c.Msg
		m := mta.Mail{From: "a@example.org", To: []string{"remote@example.com"}}
		if !own {
			msg = bytes.ReplaceAll(msg, []byte("a@example.org"), []byte("a@sender.example"))
			msg = bytes.ReplaceAll(msg, []byte("b@example.org"), []byte("b@sender.example"))
			m = mta.Mail{From: "a@sender.example", To: []string{"alias@example.org"}, XClient: stranger}
			c.Labels = append(c.Labels, "forwarded")
		} else {
			c.Labels = append(c.Labels, "own")
		}
		m.Content = append(fmt.Appendf(nil, "X-Token: %d\r\n", c.ID), msg...)
		c.Msg = m.Content
		id, err := mta.TrySubmit(f.smtp, m)
		if err != nil {
			fmt.Println("refused", c.ID, c.Labels, err)
			refused++
			continue
		}
		_ = id
		want[fmt.Sprint(c.ID)] = c
		sent++
	}
	got := f.remote.Wait(sent)
	fmt.Println(sent, refused, len(got))
	zone := map[string][]string{}
	for n, r := range records {
		zone[n] = []string{r}
	}
	z, _ := json.Marshal(zone)
	os.WriteFile(dir+"/zone.json", z, 0o644)
	out, _ := os.Create(dir + "/cases.jsonl")
	enc := json.NewEncoder(out)
	for _, g := range got {
		tok := regexp.MustCompile(`(?m)^X-Token: (\d+)\r$`).FindSubmatch(g.Content)
		if tok == nil {
			fmt.Printf("no token: %q\n", g.Content)
			continue
		}
		c := want[string(tok[1])]
		if !bytes.HasSuffix(g.Content, c.Msg) {
			c.Labels = append(c.Labels, "CHANGED")
		}
		c.Msg = g.Content
		enc.Encode(c)
	}
	out.Close()
	os.WriteFile(dir+"/log", []byte(f.Log()), 0o644)
}
