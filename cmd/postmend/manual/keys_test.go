package manual_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"postmend/cmd/postmend/manual"
	"postmend/filter/cause"
	"postmend/filter/config"
)

const configurationPage = "../../../docs/configuration.md"

// ofThisHost are the defaults that differ from host to host.
var ofThisHost = map[string]bool{"hostname": true}

// documented are the keys in docs/configuration.md by name.
func documented(t *testing.T) map[string]manual.Key {
	t.Helper()
	page, err := os.ReadFile(configurationPage)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := manual.Keys(string(page))
	if err != nil {
		t.Fatalf("docs/configuration.md, %v", err)
	}
	keys := map[string]manual.Key{}
	for _, key := range rows {
		if earlier, twice := keys[key.Name]; twice {
			t.Errorf("docs/configuration.md has %s twice: in lines %d and %d", key.Name,
				earlier.Line, key.Line)
		}
		keys[key.Name] = key
	}
	return keys
}

func TestTheConfigurationsKeysAreDocumented(t *testing.T) {
	docs, code := documented(t), map[string]reflect.Value{}
	known(reflect.ValueOf(*load(t, "")), "", code)
	for name := range code {
		if _, found := docs[name]; !found {
			t.Errorf("config.Config has %s, docs/configuration.md does not: add a row to the table below %s",
				name, heading(name))
		}
	}
	for name, key := range docs {
		if _, found := code[name]; !found {
			t.Errorf("docs/configuration.md, line %d, has %s, config.Config does not", key.Line, name)
		}
	}
}

func TestDocumentedDefaultsAreThoseOfTheCode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postmend.toml") // a configuration knows where it is from
	defaults := loadAt(t, path, "")
	code := map[string]reflect.Value{}
	known(reflect.ValueOf(*defaults), "", code)
	for name, key := range documented(t) {
		value, found := code[name]
		switch literal := key.Literal(); {
		case !found: // the other test says so
		case literal == "" && !value.IsZero() && !ofThisHost[name]:
			t.Errorf("docs/configuration.md, line %d: the default of %s is %v in config.Config; write it "+
				"as a TOML value in backticks at the start of the cell, which has %q", key.Line, name,
				shown(value), key.Default)
		case literal == "":
		default:
			// A default that somebody writes into his file changes nothing.
			explicit := loadAt(t, path, assignment(name, literal))
			if !reflect.DeepEqual(explicit, defaults) {
				t.Errorf("docs/configuration.md, line %d: %s = %s is not the default, which is %v in "+
					"config.Config", key.Line, name, literal,
					shown(value))
			}
		}
	}
}

// known gathers the keys below a table, by the TOML tags of its fields. An array of tables counts by the keys
// of one element.
func known(table reflect.Value, prefix string, keys map[string]reflect.Value) {
	for i := range table.NumField() {
		tag, _, _ := strings.Cut(table.Type().Field(i).Tag.Get("toml"), ",")
		if tag == "" || tag == "-" {
			continue
		}
		name, field := prefix+tag, table.Field(i)
		switch kind := field.Type(); {
		case hasKeys(kind):
			known(field, name+".", keys)
		case kind.Kind() == reflect.Slice && hasKeys(kind.Elem()):
			known(reflect.New(kind.Elem()).Elem(), name+".", keys)
		default:
			keys[name] = field
		}
	}
}

// hasKeys tells a table from a value that happens to be a struct, such as a network.
func hasKeys(kind reflect.Type) bool {
	if kind.Kind() != reflect.Struct {
		return false
	}
	for i := range kind.NumField() {
		if kind.Field(i).Tag.Get("toml") != "" {
			return true
		}
	}
	return false
}

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	return loadAt(t, filepath.Join(t.TempDir(), "postmend.toml"), text)
}

func loadAt(t *testing.T, path, text string) *config.Config {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(path)
	if err != nil {
		t.Errorf("with %q from docs/configuration.md: %v", text, cause.AsFailure(err).Err)
	}
	return settings
}

func assignment(name, value string) string {
	table, key := "", name
	if dot := strings.LastIndex(name, "."); dot >= 0 {
		table, key = "["+name[:dot]+"]\n", name[dot+1:]
	}
	return fmt.Sprintf("%s%s = %s\n", table, key, value)
}

func heading(name string) string {
	if dot := strings.LastIndex(name, "."); dot >= 0 {
		return fmt.Sprintf("a heading with `[%s]` (or `[[%[1]s]]`)", name[:dot])
	}
	return "the page's title"
}

func shown(value reflect.Value) any {
	if value.Kind() == reflect.Pointer && !value.IsNil() {
		return value.Elem()
	}
	return value
}

func TestTheManPageHasTheSameKeysAndDefaults(t *testing.T) {
	seen := inManPage(t)
	for name, key := range documented(t) {
		if value, found := seen[name]; !found {
			t.Errorf("postmend.toml(5) lacks %s", name)
		} else if value != strings.ReplaceAll(key.Default, "`", "") {
			t.Errorf("postmend.toml(5): the default of %s is %q, in docs/configuration.md %q", name,
				value, key.Default)
		}
	}
	code := map[string]reflect.Value{}
	known(reflect.ValueOf(*load(t, "")), "", code)
	for name := range code {
		if _, found := seen[name]; !found {
			t.Errorf("postmend.toml(5) lacks %s of config.Config", name)
		}
	}
}

// inManPage are the keys and defaults that a reader of postmend.toml(5) sees.
func inManPage(t *testing.T) map[string]string {
	t.Helper()
	pages, err := manual.Program{Version: "1"}.Pages(&cobra.Command{Use: "postmend"},
		os.DirFS("../../../docs"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(pages, func(p manual.Page) bool { return p.File == "postmend.toml.5" })
	markup := strings.NewReplacer(`\fB`, "", `\fI`, "", `\fP`, "", `\-`, "-", `\e`, `\`, `\&`,
		"", `\(dq`, `"`)
	seen, section, before := map[string]string{}, "", ""
	var tags []string
	for line := range strings.Lines(pages[i].Text) {
		text := strings.TrimSpace(markup.Replace(line))
		_, title, bracketed := strings.Cut(text, "[")
		switch value, isDefault := strings.CutPrefix(text, "Default: "); {
		case strings.HasPrefix(line, ".S") && bracketed:
			title, _, _ = strings.Cut(strings.ToLower(title), "]")
			section = strings.TrimPrefix(title, "[") + "."
		case before == ".TP":
			tags = strings.Split(text, ", ")
			for _, name := range tags {
				seen[section+name] = ""
			}
		case isDefault:
			for _, name := range tags {
				seen[section+name] = value
			}
		}
		before = text
	}
	return seen
}
