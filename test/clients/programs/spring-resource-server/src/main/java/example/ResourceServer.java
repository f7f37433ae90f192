package example;

import java.util.List;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Profile;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.GrantedAuthority;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.oauth2.server.resource.authentication.AbstractOAuth2TokenAuthenticationToken;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** An API that says who called it. */
@SpringBootApplication
@RestController
public class ResourceServer {
  public static void main(String[] args) {
    SpringApplication.run(ResourceServer.class, args);
  }

  public record Caller(String subject, List<String> authorities) {}

  @GetMapping("/")
  public Caller caller(AbstractOAuth2TokenAuthenticationToken<?> token) {
    return new Caller(token.getName(), token.getAuthorities().stream().map(GrantedAuthority::getAuthority).sorted().toList());
  }

  /** What an API adds to its configuration to take access tokens of RFC 9068 and nothing else. */
  @Bean
  @Profile("at-jwt")
  public JwtDecoder atJwtDecoder(
      @Value("${spring.security.oauth2.resourceserver.jwt.issuer-uri}") String issuer, @Value("${AUDIENCE}") String audience) {
    NimbusJwtDecoder decoder = NimbusJwtDecoder.withIssuerLocation(issuer).validateType(false).build();
    decoder.setJwtValidator(JwtValidators.createAtJwtValidator().issuer(issuer).audience(audience).build());
    return decoder;
  }

  /** What an API adds to its configuration to take tokens that are bound to a key, too (RFC 9449). */
  @Bean
  @Profile("dpop")
  public SecurityFilterChain security(HttpSecurity http) {
    return http.authorizeHttpRequests(all -> all.anyRequest().authenticated())
        .oauth2ResourceServer(api -> api.jwt(Customizer.withDefaults()).dPoP(Customizer.withDefaults()))
        .build();
  }
}
