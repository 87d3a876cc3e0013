package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/twinreel/twinreel/pkg/streamconf"
)

type checkCommand struct {
	File string `arg:"" type:"existingfile" help:"The stream config."`
	JSON bool   `name:"json" help:"Print JSON."`
}

func (c *checkCommand) Run() error { return c.check(os.Stdout) }

// check prints the config as it is understood, secrets masked, or is an error with a line for each problem.
func (c *checkCommand) check(out io.Writer) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	conf, err := streamconf.Parse(c.File, text)
	var problems streamconf.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	if c.JSON {
		if err := c.printJSON(out, conf, problems); err != nil {
			return err
		}
	}
	switch {
	case len(problems) > 0:
		return fmt.Errorf("the config is not valid\n%w", problems)
	case !c.JSON:
		fmt.Fprint(out, conf)
	}
	return nil
}

func (c *checkCommand) printJSON(out io.Writer, conf *streamconf.Config, problems streamconf.Problems) error {
	type problem struct {
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Message string `json:"message"`
	}
	answer := struct {
		Problems  []problem `json:"problems"`
		Canonical string    `json:"canonical"`
	}{Problems: []problem{}}
	for _, p := range problems {
		answer.Problems = append(answer.Problems, problem{p.Pos.Line, p.Pos.Column, p.What + "; " + p.Do})
	}
	if len(problems) == 0 {
		answer.Canonical = conf.String()
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	if err := e.Encode(answer); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
