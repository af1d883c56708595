// The OTLP receiver of OpenTelemetry's own Collector. What it takes is a line of JSON on the standard output; what
// it is told on the standard input, a line each, decides on the requests that come after it:
//
//	take | retry (an error that may be retried) | drop (one that may not)
//
//	otelcol ADDRESS [CERTIFICATE KEY]
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type sink struct {
	sync.Mutex
	mood string
}

func (*sink) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s *sink) take(line []byte, err error) error {
	s.Lock()
	defer s.Unlock()
	switch {
	case err != nil:
		return consumererror.NewPermanent(err)
	case s.mood == "retry":
		return errors.New("not now")
	case s.mood == "drop":
		return consumererror.NewPermanent(status.Error(codes.InvalidArgument, "never"))
	}
	_, err = fmt.Printf("%s\n", line)
	return err
}

func (s *sink) ConsumeLogs(_ context.Context, logs plog.Logs) error {
	return s.take((&plog.JSONMarshaler{}).MarshalLogs(logs))
}

func (s *sink) ConsumeMetrics(_ context.Context, metrics pmetric.Metrics) error {
	return s.take((&pmetric.JSONMarshaler{}).MarshalMetrics(metrics))
}

func run() error {
	http := map[string]any{"endpoint": os.Args[1]}
	if len(os.Args) == 4 {
		http["tls"] = map[string]any{"cert_file": os.Args[2], "key_file": os.Args[3]}
	}
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	asked := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{"http": http}})
	if err := asked.Unmarshal(config); err != nil {
		return err
	}
	settings := receiver.Settings{ID: component.NewID(factory.Type()), TelemetrySettings: componenttest.NewNopTelemetrySettings()}
	sink, background := &sink{mood: "take"}, context.Background()
	logs, err := factory.CreateLogs(background, settings, config, sink)
	if err != nil {
		return err
	}
	// One receiver serves both.
	if _, err := factory.CreateMetrics(background, settings, config, sink); err != nil {
		return err
	}
	if err := logs.Start(background, componenttest.NewNopHost()); err != nil {
		return err
	}
	told := bufio.NewScanner(os.Stdin)
	for told.Scan() {
		sink.Lock()
		sink.mood = told.Text()
		sink.Unlock()
	}
	return logs.Shutdown(background)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
