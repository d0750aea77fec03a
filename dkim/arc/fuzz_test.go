package arc

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"postmend/dkim"
)

// anyName has the same record for every name.
type anyName string

func (r anyName) LookupTXT(context.Context, string) ([]string, error) {
	return []string{string(r)}, nil
}

// FuzzVerify takes a message through everything that is done with its chain, and checks what holds of any.
func FuzzVerify(f *testing.F) {
	key, _ := readVectors(f, "sign.json")[0].key(f) // the same in every process
	record, err := key.Record()
	if err != nil {
		f.Fatal(err)
	}
	one := seal(f, letter, "none", key)
	two := seal(f, one, "pass", key)
	for _, seed := range []string{letter, one, two, strings.Replace(two, "i=1", "i=3", 1),
		strings.Replace(two, "cv=pass", "cv=fail", 1), seal(f, two, "fail", key),
		"ARC-Seal: i=1; cv=none\nARC-Message-Signature: i=1; h=from:arc-seal\n" +
			"ARC-Authentication-Results: i=1;\n\nx"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		message := string(raw)
		header, body := split(message)
		chain, result := verify(t, message, anyName(record))
		hasARC := false
		for _, field := range header {
			hasARC = hasARC || isResults(field) || isMessageSignature(field) || isSeal(field)
		}
		switch result.Status {
		case dkim.None, dkim.Pass, dkim.Fail:
		default:
			t.Errorf("%+v", result)
		}
		if hasARC != (result.Status != dkim.None) ||
			(result.Status == dkim.Pass) != (result.Reason == "") && hasARC {
			t.Errorf("ARC fields: %t, %+v", hasARC, result)
		}
		set, err := chain.Seal(header, hashed(body),
			Sealing{Key: key, Results: "mx.example.org; none", Intact: result.Status == dkim.Pass,
				Now: time.Now()})
		if err != nil {
			if !errors.Is(err, dkim.ErrUnsignable) {
				t.Error(err)
			}
			return
		}
		if chain.Obstacle() != "" {
			t.Errorf("sealed in spite of: %s", chain.Obstacle())
		}
		// What was sealed passes if it did before; else it is marked as broken.
		again, sealed := verify(t, joined(append(set, header...))+"\r\n"+body, anyName(record))
		whole := result.Status != dkim.Fail
		if whole != (sealed.Status == dkim.Pass) || whole == (again.Obstacle() != "") &&
			again.highest < maxInstance {
			t.Errorf("%+v, sealed: %+v", result, sealed)
		}
	})
}

// FuzzRead: a chain that is not broken at first sight has sets from 1 on, each of one field of a kind.
func FuzzRead(f *testing.F) {
	key, _ := readVectors(f, "sign.json")[0].key(f)
	header, _ := split(seal(f, seal(f, letter, "none", key), "pass", key))
	f.Add([]byte(joined(header)))
	f.Add([]byte("ARC-Authentication-Results: i = 01 ; x\nARC-Seal: i=51\n" +
		"ARC-Message-Signature: i=\n 2; i=3\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		header, _ := dkim.SplitHeader(raw)
		chain := Read(header)
		fields := 0
		for _, field := range header {
			if isResults(field) || isMessageSignature(field) || isSeal(field) {
				fields++
			}
		}
		if chain.broken == "" && (fields != 3*len(chain.sets) || chain.highest != len(chain.sets)) {
			t.Errorf("%d fields in %d sets, the highest %d", fields, len(chain.sets), chain.highest)
		}
		for n, s := range chain.sets {
			if problem := s.check(n + 1); problem != "" && chain.broken == "" {
				t.Error(problem)
			}
		}
		if fields == 0 && (chain.broken != "" || chain.Obstacle() != "") {
			t.Errorf("no field: %q, %q", chain.broken, chain.Obstacle())
		}
	})
}
